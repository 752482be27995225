"""A small ADM checkpoint with random weights: for tests, trials and demonstrations without a download."""

import dataclasses
import json
from pathlib import Path

import torch

from .backbones.adm_checkpoint import checkpoint_shapes
from .backbones.adm_config import AdmConfig, build_unet
from .drawing import draw_tensor

__all__ = ["SMALL", "make_small_adm"]

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
