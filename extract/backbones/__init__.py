"""The backbones, one file each. Light: models load on demand."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...store.errors import ConfigError
from ..settings import DEFAULT_OPTIONS, BackboneOptions
from ..weights import find_weights, split_random
from .registry import BACKBONES, BackboneInfo, backbone_info, register_backbone

if TYPE_CHECKING:
    import torch

    from .base import Backbone

__all__ = ["BACKBONES", "BackboneInfo", "backbone_info", "check_options", "load_backbone", "register_backbone"]


def check_options(options: BackboneOptions, backbones: Sequence[str]) -> None:
    """Refuse an option that none of the backbones of a run takes.

    An option that some of them take applies to those.

    Raises
    ------
    ConfigError
        For such an option, with the backbones that take it; for an unknown backbone.
    """
    taken = {option for name in backbones for option in backbone_info(name).options}
    for option in options.given:
        if option not in taken:
            flag = f"--{'no-' if option == 'temporal' else ''}{option.replace('_', '-')}"
            takers = [name for name, info in BACKBONES.items() if option in info.options]
            raise ConfigError(
                f"{flag} would have no effect: {', '.join(dict.fromkeys(backbones))} "
                f"{'takes' if len(set(backbones)) == 1 else 'take'} no such option; {', '.join(takers)} would"
            )


def load_backbone(
    name: str,
    weights: Path | str | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: BackboneOptions = DEFAULT_OPTIONS,
) -> Backbone:
    """Load a backbone with its weights; nothing is downloaded.

    Parameters
    ----------
    name
        A key of `BACKBONES`.
    weights
        A local folder or file; or, as a string, a repository of the hub that is in its cache; or None for the
        published weights in the cache. ``"random:SEED"`` and ``"random:SEED:PATH"`` give the network of the same
        configuration random weights; all other parts (VAE, encoders) are those of the published weights or of PATH.
    device, dtype
        Where and in which precision the models run.
    options
        What to vary; options that the backbone does not take do not concern it (see `check_options`).

    Raises
    ------
    ConfigError
        For an unknown backbone, and for options or a seed that make no sense.
    WeightsError
        When the weights are absent, incomplete, damaged or of another architecture.
    """
    info = backbone_info(name)
    seed, place = split_random(weights)
    if seed is not None and not info.random:
        raise ConfigError(f"backbone {name!r} cannot have random weights")
    if info.published is None:
        if place is not None:
            raise ConfigError(f"backbone {name!r} has no weights: leave {place} out")
        path = None
    else:
        needs_files = seed is None or place is not None or info.published.on_hub
        path = find_weights(name, info.published, place) if needs_files else None
    varied: dict[str, Any] = {"options": options} if info.options else {}
    if info.random:
        varied["seed"] = seed
    module, _, function = info.loader.partition(":")
    backbone: Backbone = getattr(importlib.import_module(module), function)(path, device=device, dtype=dtype, **varied)
    return backbone
