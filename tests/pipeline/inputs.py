"""Small inputs for the commands, and shorthands that run them on these."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .conftest import Cli, Result

SMALL = ("--radius", 3, "--top-k", 5)


def frames_folder(folder: Path, frames: NDArray[np.generic], suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / f"{index}{suffix}"), frame)
    return folder


def random_video(count: int, size: tuple[int, int] = (70, 90), channels: int = 3) -> NDArray[np.uint8]:
    shape = (count, *size, channels) if channels > 1 else (count, *size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def mask_file(path: Path, size: tuple[int, int] = (70, 90), value: int = 1) -> Path:
    ids = np.zeros(size, np.uint8)
    ids[10:40, 20:60] = value
    Image.fromarray(ids).save(path)
    return path


def extract(cli: Cli, weights: tuple[str, ...], cache: Path, *arguments: object) -> Result:
    return cli("extract", *arguments, "--cache", cache, "--frame-size", 64, *weights)


def propagate(cli: Cli, cache: Path, out: Path, *arguments: object) -> Result:
    return cli("propagate", *arguments, "--cache", cache, "--out", out, *SMALL)


def no_unit_looks_whole(cache: Path) -> bool:
    return not list(cache.rglob("complete.json"))
