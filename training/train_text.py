"""Train a small text-to-image model on captioned synthetic scenes: ``python -m training.train_text CONFIG OUT``.

The model is a `UNet2DConditionModel` with cross-attention to a `CLIPTextModel`, which is trained with it. Run the
command again with the same OUT to resume. To use the weights so far: ``--weights sd21=OUT/weights``.
"""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from ted.extract.backbones import stable_diffusion

from .session import train_model, training_command


@training_command
def main(config: Path, out: Path, device: str, workers: int, seconds: float | None) -> None:
    """Train with CONFIG; write checkpoints, the curve and the weights to OUT."""
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
