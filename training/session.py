"""What the scripts of all kinds of models share: the configuration's file, the folders, the device."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch

from ted.extract.backbones.base import Condition
from ted.extract.backbones.i2vgen_xl import I2VGenXL
from ted.extract.backbones.stable_diffusion import StableDiffusion

from .fast_layers import hasten
from .folder import save_half, write_folder
from .loop import LoopConfig, train
from .objective import Objective
from .scenes import Scenes

__all__ = ["train_model", "training_command"]

B = TypeVar("B", I2VGenXL, StableDiffusion)


def training_command(function: Callable[..., None]) -> click.Command:
    """Make a command of a script: CONFIG, OUT, and where and how long to train."""
    for option in (
        click.option("--seconds", type=float, help="Stop at the first checkpoint after this time."),
        click.option("--workers", type=int, default=0, show_default=True, help="Processes that render."),
        click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True),
        click.argument("out", type=click.Path(path_type=Path)),
        click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    ):
        function = option(function)
    return click.command()(function)


def train_model(
    config_file: Path,
    out: Path,
    *,
    pipeline: str,
    unet_class: Any,
    load: Callable[..., B],
    condition: Callable[[B, Mapping[str, Any], torch.Tensor, np.random.Generator], Condition],
    device: torch.device,
    workers: int = 0,
    seconds: float | None = None,
) -> None:
    """Train a model, or go on training it.

    Parameters
    ----------
    config_file
        TOML with the tables ``unet``, ``scheduler``, ``standins``, ``scenes``, ``objective`` and ``loop``.
    out
        For ``checkpoint.pt``, ``curve.csv`` and ``weights`` (the average of the weights, in half precision, in the
        published layout), all brought up to date at each checkpoint.
    pipeline
        Class name of the pipeline that such weights belong to.
    unet_class
        Class of the network.
    load
        Loads the backbone from such a folder.
    condition
        Gives a clip's condition: arguments are the backbone, the table ``objective``, the clip (frame, 3, height,
        width) in [-1, 1], and a source of randomness.
    device
        Where to train.
    workers
        Processes that render.
    seconds
        Stop at the first checkpoint after this time.
    """
    config = tomllib.loads(config_file.read_text(encoding="utf-8"))
    seed = config["objective"]["seed"]
    weights = out / "weights"
    torch.manual_seed(seed)
    unet = unet_class(**config["unet"])
    write_folder(
        weights,
        pipeline=pipeline,
        unet={"_class_name": unet_class.__name__, **config["unet"]},
        scheduler=config["scheduler"],
        standins=config["standins"],
    )
    save_half(unet, weights)
    backbone = load(weights, device=device, dtype=torch.float32)
    backbone.network = unet.to(device)
    backbone.text_states = backbone.text_states.clone()  # it was made for inference alone
    hasten(unet, device)
    objective = Objective(
        backbone=backbone,
        scenes=Scenes(config["scenes"], seed=seed, frames=config["objective"].get("frames", backbone.clip_length)),
        batch=config["objective"]["batch"],
        timesteps=[tuple(entry) for entry in config["objective"]["timesteps"]],
        seed=seed,
        condition=lambda clip, rng: condition(backbone, config["objective"], clip, rng),
        channel_weights=config["objective"].get("channel_weights", [1.0] * config["unet"]["out_channels"]),
        bfloat16=device.type == "cuda" or config["objective"].get("bfloat16", False),
        workers=workers,
    )
    train(
        unet,
        out,
        LoopConfig(**config["loop"]),
        objective.batches,
        timestep_count=len(backbone.schedule),
        keep=lambda averaged: save_half(averaged, weights),
        seconds=seconds,
        say=lambda line: print(line, flush=True),
    )
