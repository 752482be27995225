"""Tokenizer and text encoder of a small model whose captions have few words."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ted.extract.model_folder import quiet_libraries
from ted.extract.placeholders import PROMPT_TOKENS

__all__ = ["load_tokenizer", "make_text_encoder", "write_tokenizer"]

_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(folder: Path, words: Iterable[str]) -> int:
    """Write a CLIP tokenizer in which each of the words is one token, and return the size of its vocabulary.

    Merges are those of byte pair encoding (Sennrich et al., 2016), the most frequent pair first, until no word has
    parts. Other words of the letters a to z become several tokens.
    """
    parts = {word: (*word[:-1], word[-1] + "</w>") for word in words}
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for pieces in parts.values() for pair in pairwise(pieces)):
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        parts = {word: _merged(pieces, merges[-1]) for word, pieces in parts.items()}
    tokens = [*ascii_lowercase, *(letter + "</w>" for letter in ascii_lowercase), *map("".join, merges), _START, _END]
    special = {"bos_token": _START} | dict.fromkeys(("eos_token", "unk_token", "pad_token"), _END)
    settings = {**special, "model_max_length": PROMPT_TOKENS, "tokenizer_class": "CLIPTokenizer"}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("vocab.json", json.dumps({token: number for number, token in enumerate(tokens)})),
        ("merges.txt", "\n".join(["#version: 0.2", *map(" ".join, merges)])),
        ("tokenizer_config.json", json.dumps(settings, indent=2)),
    ):
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return len(tokens)


def _merged(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join neighbours that equal a pair, from left to right."""
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] += piece
        else:
            found.append(piece)
    return tuple(found)


def load_tokenizer(folder: Path) -> Callable[[str], torch.Tensor]:
    """Return a function of a text that returns its token ids (token,), padded as at extraction."""
    with quiet_libraries():
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def tokenize(text: str) -> torch.Tensor:
        ids: torch.Tensor = tokenizer(
            text, padding="max_length", max_length=PROMPT_TOKENS, return_tensors="pt"
        ).input_ids[0]
        return ids

    return tokenize


def make_text_encoder(config: Mapping[str, Any], vocabulary: int) -> Any:
    """Create a text encoder, whose last two tokens are the start and the end of a text."""
    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=vocabulary, max_position_embeddings=PROMPT_TOKENS, **ends, **config))
