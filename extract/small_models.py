"""Small backbones with random weights, on disk as the published ones are: for tests, trials and demonstrations."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from ..store.errors import ConfigError
from .backbones import backbone_info
from .backbones.adm_checkpoint import checkpoint_shapes
from .backbones.adm_config import AdmConfig, build_unet
from .placeholders import DECLARATIONS
from .random_weights import draw_tensor
from .small_model_parts import MODELS

__all__ = ["SMALL", "make_small", "make_small_adm"]

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


#: As deep as the published model, so that its taps bear the same names at the same strides, but narrow.
SMALL = AdmConfig(image_size=64, num_channels=32, channel_mult=(1, 1, 1, 2, 2, 2), num_head_channels=32)


def make_small_adm(folder: Path, *, seed: int = 0) -> Path:
    """Write `model.pt`, in the original's key names, and `config.json`.

    All layers are random, also those that training starts from zero (the last convolution of each residual block,
    attention's output, normalisation's shift), so that no part of the network is without effect.

    Parameters
    ----------
    folder
        Where to write; created if absent.
    seed
        Of the weights, which are the same on every machine.

    Returns
    -------
    Path
        The folder, to be given as the backbone's weights.
    """
    with torch.device("meta"):
        shapes = checkpoint_shapes(SMALL, build_unet(SMALL).state_dict())
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: draw_tensor(name, shape, generator) for name, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(SMALL), indent=1) + "\n", encoding="utf-8")
    torch.save(tensors, folder / "model.pt")
    return folder
