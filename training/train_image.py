"""Train a small image diffusion model on frames of synthetic scenes: ``python -m training.train_image CONFIG OUT``.

The model is a `UNet2DConditionModel` without text. Run it again with the same OUT to go on from the last checkpoint;
``--weights sd21=OUT/weights`` takes what there is so far.
"""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from ted.extract.backbones import stable_diffusion

from .session import train_model, training_command


@training_command
def main(config: Path, out: Path, device: str, workers: int, seconds: float | None) -> None:
    """Train by CONFIG, with checkpoints, the curve and the weights in OUT."""
    train_model(
        config,
        out,
        pipeline="StableDiffusionPipeline",
        unet_class=UNet2DConditionModel,
        load=stable_diffusion.load,
        condition=lambda _backbone, _objective, _clip, _rng: {},
        device=torch.device(device),
        workers=workers,
        seconds=seconds,
    )


if __name__ == "__main__":
    main()
