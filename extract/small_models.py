"""Write small backbones with random weights, in the layout of the published ones, for tests and demonstrations."""

import dataclasses
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError

from ..store.durable import explain_os_errors
from ..store.errors import ConfigError, TedError
from .backbones import backbone_info
from .backbones.adm_checkpoint import checkpoint_shapes
from .backbones.adm_config import AdmConfig, build_unet
from .placeholders import DECLARATIONS
from .random_weights import draw_tensor
from .small_model_parts import MODELS, write_json

__all__ = ["SMALL_ADM", "make_small"]

#: A narrow ADM with the depth of the published one, so that its taps have the same names and strides.
SMALL_ADM = AdmConfig(image_size=64, num_channels=32, channel_mult=(1, 1, 1, 2, 2, 2), num_head_channels=32)

#: Placeholder declarations for omitted parts.
_DECLARED: Mapping[str, Mapping[str, Any]] = {
    "vae": {"vae": {"area_average": 8}},
    "text_encoder": {"text": "zeros"},
    "tokenizer": {"text": "zeros"},
    "image_encoder": {"image": "zeros"},
    "feature_extractor": {"image": "zeros"},
}


def make_small(name: str, folder: Path, *, seed: int = 0, standins: bool = False) -> Path:
    """Write a small backbone with random weights; the folder appears whole or not at all.

    The folder has the layout of the published weights, the same scheduler configuration, and UNets with as many levels.
    Every parameter is random, including those that are usually initialised with zero or one, such as the last layer of
    a temporal block. Otherwise a test of that block could pass without effect.

    Parameters
    ----------
    name
        A backbone of the registry.
    folder
        The folder to write: empty or new.
    seed
        Seed of the weights, which are the same on every machine.
    standins
        Omit VAE and encoders, and declare placeholders for them (see `placeholders`). ADM and DINO have none.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        For a backbone without a small model, and for a folder that is not empty.
    CacheError, TedError
        When the folder cannot be written, as on a full disk.
    """
    backbone_info(name)
    if name != "adm" and name not in MODELS:
        raise ConfigError(f"there is no small model of backbone {name!r}, only of: {', '.join([*MODELS, 'adm'])}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; choose another, so that nothing is overwritten")
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with explain_os_errors(f"write {folder}"):
            partial.mkdir(parents=True)
            generator = torch.Generator().manual_seed(seed)
            _write_adm(partial, generator) if name == "adm" else _write_parts(name, partial, generator, standins)
            partial.replace(folder)
    except (SafetensorError, RuntimeError) as error:  # the libraries' errors on a full disk
        raise TedError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_parts(name: str, folder: Path, generator: torch.Generator, standins: bool) -> None:
    """Write the parts of a pipeline into subfolders, or a single model into the folder itself."""
    pipeline, parts = MODELS[name]
    if pipeline is None:
        for part in parts.values():
            part.write(folder, generator)
        return
    absent = [part for part in parts if part in _DECLARED] if standins else []
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    for part_name, part in parts.items():
        if part_name in absent:
            index[part_name] = [None, None]
            continue
        (folder / part_name).mkdir()
        part.write(folder / part_name, generator)
        index[part_name] = [part.library, part.class_name]
    write_json(folder / "model_index.json", index)
    if absent:
        write_json(folder / DECLARATIONS, {key: value for part in absent for key, value in _DECLARED[part].items()})


def _write_adm(folder: Path, generator: torch.Generator) -> None:
    """Write `model.pt`, with guided-diffusion's names, and `config.json`."""
    with torch.device("meta"):
        shapes = checkpoint_shapes(SMALL_ADM, build_unet(SMALL_ADM).state_dict())
    tensors = {name: draw_tensor(name, shape, generator) for name, shape in shapes.items()}
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(SMALL_ADM), indent=1) + "\n", encoding="utf-8")
    torch.save(tensors, folder / "model.pt")
