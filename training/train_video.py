"""Train a small video diffusion model on synthetic scenes: ``python -m training.train_video training/video.toml OUT``.

The model is an `I2VGenXLUNet` with the clip's first frame as condition, as in I2VGen-XL, dropped for some clips. Run
the command again with the same OUT to resume. To use the weights so far: ``--weights i2vgen-xl=OUT/weights``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import I2VGenXLUNet

from ted.extract.backbones import i2vgen_xl
from ted.extract.backbones.base import Condition

from .session import train_model, training_command


def condition(
    backbone: i2vgen_xl.I2VGenXL, objective: Mapping[str, Any], clip: torch.Tensor, rng: np.random.Generator
) -> Condition:
    """Return the condition of a clip: its first frame, or nothing for a configured share of the clips."""
    image = None if rng.uniform() < objective["untold"] else clip[:1]
    return backbone.condition(clip, image, _no_noise)


def _no_noise(_shape: object) -> torch.Tensor:
    raise AssertionError("I2VGen-XL's conditioning draws no noise")


@training_command
def main(config: Path, out: Path, device: str, workers: int, seconds: float | None) -> None:
    """Train with CONFIG; write checkpoints, the curve and the weights to OUT."""
    train_model(
        config,
        out,
        pipeline="I2VGenXLPipeline",
        unet_class=I2VGenXLUNet,
        load=i2vgen_xl.load,
        condition=condition,
        device=torch.device(device),
        workers=workers,
        seconds=seconds,
    )


if __name__ == "__main__":
    main()
