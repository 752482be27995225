"""Small backbones with random weights, on disk as the published ones are: for tests, trials and demonstrations."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from ..store.errors import ConfigError
from .backbones import backbone_info
from .small_adm import make_small_adm
from .small_parts import MODELS
from .standins import DECLARATIONS

__all__ = ["make_small"]

#: What is declared in the place of parts that are left out.
_DECLARED: Mapping[str, Mapping[str, Any]] = {
    "vae": {"vae": {"area_average": 8}},
    "text_encoder": {"text": "zeros"},
    "tokenizer": {"text": "zeros"},
    "image_encoder": {"image": "zeros"},
    "feature_extractor": {"image": "zeros"},
}


def make_small(name: str, folder: Path, *, seed: int = 0, standins: bool = False) -> Path:
    """Write a small backbone with random weights.

    The folder has the layout of the published weights, the schedulers have their configuration, and the UNets as many
    levels. Every parameter is random, also those that the library initialises to zero or to one: a new temporal layer
    does nothing, and a test with it would pass for the wrong reason.

    Parameters
    ----------
    name
        A backbone of the registry.
    folder
        Where to write; created if absent.
    seed
        Of the weights.
    standins
        Leave VAE and encoders out and declare stand-ins for them (see `standins`). ADM and DINO have none of them.

    Returns
    -------
    Path
        The folder, to be given as the backbone's weights.

    Raises
    ------
    ConfigError
        For an unknown backbone, and for one of another package.
    """
    backbone_info(name)
    if name == "adm":
        return make_small_adm(folder, seed=seed)
    if name not in MODELS:
        raise ConfigError(f"there is no small model of backbone {name!r}, only of: {', '.join([*MODELS, 'adm'])}")
    pipeline, parts = MODELS[name]
    generator = torch.Generator().manual_seed(seed)
    if pipeline is None:
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts.values():
            part.write(folder, generator)
        return folder
    absent = [part for part in parts if part in _DECLARED] if standins else []
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    for name_of_part, part in parts.items():
        if name_of_part in absent:
            index[name_of_part] = [None, None]
            continue
        (folder / name_of_part).mkdir(parents=True, exist_ok=True)
        part.write(folder / name_of_part, generator)
        index[name_of_part] = [part.library, part.class_name]
    _write_json(folder / "model_index.json", index)
    if absent:
        _write_json(folder / DECLARATIONS, {key: value for part in absent for key, value in _DECLARED[part].items()})
    return folder


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
