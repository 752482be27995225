"""Where a prompt's words are in a frame: a diffusion network's cross-attention, sharpened by its self-attention.

DRIFT (arXiv 2511.19936), figure 1, shows such masks. How they are computed is a reconstruction.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional

from ..store.errors import ConfigError
from .attention_maps import as_maps, attention_layers, grid_of_tokens, read_attention
from .backbones.base import Backbone
from .frame_size import DEFAULT_SHORT_SIDE
from .noising.keyed_noise import NoiseKey, draw_noise

#: Words of a phrase that have no map of their own.
_EMPTY_WORDS = frozenset({"a", "an", "the", "of", "in", "on", "at", "to", "by", "with", "and", "or"})


def content_words(phrase: str) -> list[str]:
    """Return the words of a phrase except articles, prepositions and conjunctions; all words if there are no others."""
    words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", phrase)
    return [word for word in words if word.lower() not in _EMPTY_WORDS] or words


def trained_side(backbone: Backbone) -> int:
    """Return the side in pixels of the square frames that a latent network was trained on."""
    config, encoder = getattr(backbone.network, "config", None), getattr(backbone, "frame_encoder", None)
    cells, stride = getattr(config, "sample_size", None), getattr(encoder, "stride", 1)
    return cells * stride if isinstance(cells, int) else DEFAULT_SHORT_SIDE


@torch.inference_mode()
def word_map(
    backbone: Backbone,
    pixels: torch.Tensor,
    prompt: str,
    words: Sequence[str],
    *,
    key: NoiseKey,
    timestep: int = 100,
    draws: int = 4,
    carry: bool = True,
) -> torch.Tensor:
    """Return the map of some words in a frame: m(i) = sum_p CA(p) SA(p, i) / sum_p SA(p, i), averaged over draws.

    CA is the cross-attention of cell p to the words' tokens, averaged over tokens, heads and the layers of
    ``up_blocks``, resized to the finest of their grids. SA is the self-attention of cell p to cell i, averaged over
    heads and the layers of the last block, which has that grid. The divisor keeps cells to which all others attend from
    standing out, and m in the range of CA.

    Parameters
    ----------
    backbone
        A backbone with text, of single frames.
    pixels
        The frame: (1, 3, height, width), float32, RGB in [-1, 1].
    prompt
        What the network is told.
    words
        Words of the prompt.
    key
        Key of the noise; draws count from 0.
    timestep, draws
        Timestep tau, and number of noise draws.
    carry
        Whether self-attention carries the map; otherwise m is CA alone.

    Returns
    -------
    torch.Tensor
        (y, x), float32, in [0, 1], on the CPU.

    Raises
    ------
    ConfigError
        For a backbone without text, a word that the prompt lacks, a prompt that is too long, or an unknown timestep.
    """
    text = backbone.text
    if text is None:
        raise ConfigError(f"backbone {backbone.name!r} takes no text: no word can be searched for")
    states = text.encode(prompt)
    tokens = sorted({position for word in words for position in text.positions(prompt, word)})
    cross = attention_layers(backbone, cross=True, within=("up_blocks",))
    every = attention_layers(backbone, cross=False, within=("up_blocks",))
    last = next(reversed(every)).split(".")[0]
    own = {name: layer for name, layer in every.items() if name.split(".")[0] == last}
    latents = backbone.encode(pixels)  # (frame, channel, y, x)
    size = (latents.shape[-2], latents.shape[-1])
    total: torch.Tensor | None = None
    for draw in range(draws):
        noise = draw_noise(replace(key, draw=draw), latents.shape)
        noisy = backbone.schedule.perturb(latents, noise, timestep)[None]
        arguments = backbone.network_arguments(noisy, timestep, {"text_states": states})
        weights = read_attention(partial(backbone.network, **arguments), cross | own)
        found = as_maps({name: weights[name] for name in cross}, size)[0, tokens].mean(0)
        between = torch.stack([weights[name][0].mean(0) for name in own]).mean(0)  # (cell, cell)
        grid = grid_of_tokens(len(between), size)
        found = functional.interpolate(found[None, None], grid, mode="bilinear", align_corners=False).flatten()
        drawn = (found @ between / between.sum(0) if carry else found).reshape(grid)
        total = drawn if total is None else total + drawn
    assert total is not None
    return (total / draws).float().cpu()
