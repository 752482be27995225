"""The bundled small models (docs/evidence/small-models.md), loaded by the code of the published models."""

import dataclasses
from pathlib import Path

import torch

from ..settings import DEFAULT_OPTIONS, BackboneOptions
from . import i2vgen_xl, stable_diffusion
from .i2vgen_xl import I2VGenXL
from .stable_diffusion import StableDiffusion


def load_video(
    weights: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: BackboneOptions = DEFAULT_OPTIONS,
    seed: int | None = None,
) -> I2VGenXL:
    """Load the video model; see `i2vgen_xl.load`. It was trained without a conditioning frame."""
    options = dataclasses.replace(options, condition_on=options.condition_on or "none")
    return i2vgen_xl.load(weights, device=device, dtype=dtype, options=options, seed=seed, name="demo-video")


def load_image(weights: Path, *, device: torch.device, dtype: torch.dtype, seed: int | None = None) -> StableDiffusion:
    """Load the image model; see `stable_diffusion.load`."""
    return stable_diffusion.load(weights, device=device, dtype=dtype, seed=seed, name="demo-image")


def load_text(
    weights: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: BackboneOptions = DEFAULT_OPTIONS,
    seed: int | None = None,
) -> StableDiffusion:
    """Load the text-to-image model; see `stable_diffusion.load`."""
    return stable_diffusion.load(weights, device=device, dtype=dtype, options=options, seed=seed, name="demo-text")
