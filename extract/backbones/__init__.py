"""The backbones, one file each. Networks are imported on demand."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...store.errors import ConfigError, Hint, WeightsError
from ..settings import DEFAULT_OPTIONS, BackboneOptions
from ..weights import check_files, find_weights, split_random
from .registry import BACKBONES, BackboneInfo, backbone_info, register_backbone

if TYPE_CHECKING:
    import torch

    from .base import Backbone

__all__ = [
    "BACKBONES",
    "BackboneInfo",
    "backbone_info",
    "check_options",
    "check_weights",
    "load_backbone",
    "register_backbone",
]


def check_options(options: BackboneOptions, backbones: Sequence[str]) -> None:
    """Raise ConfigError for an option that none of a run's backbones takes, and for an unknown backbone.

    Backbones that do not take an option ignore it.
    """
    taken = {option for name in backbones for option in backbone_info(name).options}
    for option in options.given:
        if option not in taken:
            flag = "no-temporal" if option == "temporal" else option.replace("_", "-")
            takers = [name for name, info in BACKBONES.items() if option in info.options]
            names = list(dict.fromkeys(backbones))
            raise ConfigError(
                f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no option {flag}; "
                f"{', '.join(takers)} {'has' if len(takers) == 1 else 'have'} it",
                hint=Hint("leave-option-out"),
            )


def check_weights(weights: Mapping[str, Path | str | None]) -> None:
    """Raise one WeightsError that names all missing weights of a run, by backbone, if there are any. Loads nothing."""
    problems: list[WeightsError] = []
    for name, given in weights.items():
        try:
            path, seed = _locate(name, given)
            published = backbone_info(name).published
            if path is not None and published is not None:
                check_files(name, published, path, untrained=seed is not None)
        except WeightsError as error:
            problems.append(error)
    if problems:
        raise WeightsError("\n".join(map(str, problems)), hint=problems[0].hint)


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
        A key of `BACKBONES`, or a name that an installed package offers.
    weights
        A local folder or file; or, as a string, a hub repository in the hub's cache; or None for the published weights
        in that cache. ``"random:SEED"`` and ``"random:SEED:PATH"`` give the network random weights; its configuration
        and all other parts (VAE, encoders) are those of the published weights or of PATH.
    device, dtype
        Device and precision of the network and its encoders.
    options
        Options of backbones; those that this one does not take are ignored (see `check_options`).

    Raises
    ------
    ConfigError
        For an unknown backbone, and for invalid options or an invalid seed.
    WeightsError
        When the weights are absent, incomplete, damaged or of another architecture.
    """
    info = backbone_info(name)
    path, seed = _locate(name, weights)
    varied: dict[str, Any] = {"options": options} if info.options else {}
    if info.random:
        varied["seed"] = seed
    module, _, function = info.loader.partition(":")
    backbone: Backbone = getattr(importlib.import_module(module), function)(path, device=device, dtype=dtype, **varied)
    return backbone


def _locate(name: str, weights: Path | str | None) -> tuple[Path | None, int | None]:
    """Return the path of a backbone's weights (None if it needs no file), and the seed of random weights or None."""
    info = backbone_info(name)
    seed, location = split_random(weights)
    if seed is not None and not info.random:
        raise ConfigError(f"backbone {name!r} cannot have random weights")
    if info.published is None:
        if location is not None:
            raise ConfigError(f"backbone {name!r} has no weights: leave {location} out")
        return None, seed
    if seed is not None and location is None and not info.published.on_hub:
        return None, seed
    return find_weights(name, info.published, location), seed
