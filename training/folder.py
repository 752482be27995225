"""Folder of a model in the layout of the published weights."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from ted.extract.model_folder import quiet_libraries

__all__ = ["save_half", "write_folder"]


def write_folder(
    folder: Path,
    *,
    pipeline: str,
    unet: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    standins: Mapping[str, Any],
    text: bool = False,
) -> None:
    """Write everything except the weights.

    Parameters
    ----------
    folder
        Folder of the model; created if absent.
    pipeline
        Class name of the pipeline.
    unet
        Configuration of the UNet, with its class as ``_class_name``.
    scheduler
        Configuration of a `DDIMScheduler`.
    standins
        Content of ``ted.json``: replacements of the parts that the small models do not have.
    text
        Whether there are a text encoder and a tokenizer.
    """
    absent = ("vae", "text_encoder", "tokenizer", "image_encoder", "feature_extractor")
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    index |= {part: [None, None] for part in absent}
    if text:
        index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {"unet": ["diffusers", unet["_class_name"]], "scheduler": ["diffusers", "DDIMScheduler"]}
    for name, value in (
        ("model_index.json", index),
        ("ted.json", standins),
        ("unet/config.json", unet),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler", **scheduler}),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def save_half(model: Any, folder: Path, part: str = "unet") -> None:
    """Write the weights of a part as ``*.fp16.safetensors``."""
    with quiet_libraries():
        copy.deepcopy(model).to(torch.float16).save_pretrained(folder / part, variant="fp16", safe_serialization=True)
