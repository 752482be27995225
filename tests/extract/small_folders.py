"""Small models, written when they are first asked for, and frames for them."""

from pathlib import Path

import torch

from ted.extract.small_models import make_small


class SmallFolders:
    """Creates folders of small models on demand; do not write to them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, name: str, *, standins: bool = False) -> Path:
        folder = self._root / f"{name}-{standins}"
        return folder if folder.exists() else make_small(name, folder, standins=standins)


def make_clip(frames: int, height: int, width: int, *, seed: int = 0) -> torch.Tensor:
    """Return frames (frame, 3, height, width) of 8-bit values in [-1, 1]: smooth shades with some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(frames, 3, 5, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)
    pixels = (255 * smooth + 20 * torch.randn(smooth.shape, generator=generator)).round().clamp(0, 255)
    return pixels / 127.5 - 1
