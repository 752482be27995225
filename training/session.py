"""Common part of the training scripts: configuration file, folders, device."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch
from torch import nn

from ted.extract.backbones.base import Condition
from ted.extract.backbones.i2vgen_xl import I2VGenXL
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.pipeline.synthetic.captions import WORDS

from .attention_start import start_as_similarity
from .fast_layers import hasten
from .folder import save_half, write_folder
from .loop import LoopConfig, train
from .objective import Objective
from .scenes import CaptionedScenes, Scenes
from .text import load_tokenizer, make_text_encoder, write_tokenizer

__all__ = ["train_model", "training_command"]

B = TypeVar("B", I2VGenXL, StableDiffusion)


def training_command(function: Callable[..., None]) -> click.Command:
    """Turn a function into a command with CONFIG, OUT, the device and the duration."""
    for option in (
        click.option("--seconds", type=float, help="Stop at the first checkpoint after this time."),
        click.option("--workers", type=int, default=0, show_default=True, help="Number of rendering processes."),
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
    """Train a model, or continue its training.

    Parameters
    ----------
    config_file
        TOML with the tables ``unet``, ``scheduler``, ``standins``, ``scenes``, ``objective`` and ``loop``. With a
        table ``text_encoder``, scenes have captions (table ``captions``), and the text encoder is trained too.
    out
        Folder of ``checkpoint.pt``, ``curve.csv`` and ``weights`` (averaged, in half precision, in the published
        layout), all updated at each checkpoint.
    pipeline
        Class name of the published pipeline.
    unet_class
        Class of the network.
    load
        Loads the backbone from a folder of weights.
    condition
        Returns a clip's condition, given the backbone, the table ``objective``, the clip (frame, 3, height, width) in
        [-1, 1], and a random generator.
    device
        Device of the training.
    workers
        Number of rendering processes.
    seconds
        Stop at the first checkpoint after this time.
    """
    config = tomllib.loads(config_file.read_text(encoding="utf-8"))
    config["unet"] = {key: None if value == "none" else value for key, value in config["unet"].items()}
    seed = config["objective"]["seed"]
    weights = out / "weights"
    torch.manual_seed(seed)
    unet = unet_class(**config["unet"])
    if config["objective"].get("start_as_similarity", False):
        start_as_similarity(unet)
    write_folder(
        weights,
        pipeline=pipeline,
        unet={"_class_name": unet_class.__name__, **config["unet"]},
        scheduler=config["scheduler"],
        standins=config["standins"],
        text="text_encoder" in config,
    )
    save_half(unet, weights)
    parts: dict[str, Any] = {"unet": unet}
    if "text_encoder" in config:
        vocabulary = write_tokenizer(weights / "tokenizer", WORDS)
        parts["text_encoder"] = make_text_encoder(config["text_encoder"], vocabulary)
        save_half(parts["text_encoder"], weights, "text_encoder")
    backbone = load(weights, device=device, dtype=torch.float32)
    trained = nn.ModuleDict(parts).to(device) if "text_encoder" in parts else unet.to(device)
    backbone.network = unet
    backbone.text_states = backbone.text_states.clone()  # a tensor of inference mode cannot be trained with
    hasten(unet, device, fused_attention=config["objective"].get("fused_attention", False))
    frames = config["objective"].get("frames", backbone.clip_length)
    if "text_encoder" in parts:
        scenes: Scenes = CaptionedScenes(
            config["scenes"],
            seed=seed,
            frames=frames,
            tokenize=load_tokenizer(weights / "tokenizer"),
            **config["captions"],
        )
    else:
        scenes = Scenes(config["scenes"], seed=seed, frames=frames)
    objective = Objective(
        backbone=backbone,
        scenes=scenes,
        batch=config["objective"]["batch"],
        timesteps=[tuple(entry) for entry in config["objective"]["timesteps"]],
        seed=seed,
        condition=lambda clip, rng: condition(backbone, config["objective"], clip, rng),
        channel_weights=config["objective"].get("channel_weights", [1.0] * config["unet"]["out_channels"]),
        bfloat16=device.type == "cuda" or config["objective"].get("bfloat16", False),
        workers=workers,
        grounding=config["objective"].get("grounding", 0.0),
        text=(lambda ids: parts["text_encoder"](ids).last_hidden_state) if "text_encoder" in parts else None,
    )

    def keep(averaged: Any) -> None:
        for part in parts:
            save_half(averaged[part] if "text_encoder" in parts else averaged, weights, part)

    train(
        trained,
        out,
        LoopConfig(**config["loop"]),
        objective.batches,
        timestep_count=len(backbone.schedule),
        keep=keep,
        seconds=seconds,
        say=lambda line: print(line, flush=True),
    )
