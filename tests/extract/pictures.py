"""Small pictures, frames and videos for tests."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]


def picture(height: int = 40, width: int = 56, seed: int = 0) -> Picture:
    """Smooth colours, so that lossy codecs stay close."""
    grid = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def write_frames(folder: Path, pictures: Sequence[Picture], suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:05d}{suffix}" for i in range(len(pictures))]
    for path, content in zip(paths, pictures, strict=True):
        Image.fromarray(content).save(path)
    return paths


def write_video(path: Path, pictures: Sequence[Picture], code: str = "MJPG") -> Path:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (width, height))
    assert writer.isOpened()
    for content in pictures:
        writer.write(np.ascontiguousarray(content[..., ::-1]))
    writer.release()
    return path
