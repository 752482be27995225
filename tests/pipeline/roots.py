"""Small roots of the field's datasets, with random frames and given masks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.tasks.masks.png import write_mask

SIZE = (40, 56)

Ids = NDArray[np.uint8]


def write_frames(folder: Path, names: Sequence[str], suffix: str = ".jpg", mode: str = "RGB") -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(names))
    for name in names:
        values = rng.integers(0, 256, (*SIZE, len(mode)), dtype=np.uint8)
        Image.fromarray(values, mode).save(folder / f"{name}{suffix}")


def boxes(**places: int) -> Ids:
    """Objects by number, each a box of 10x10 pixels at this column: ``boxes(o1=5, o2=30)``."""
    ids = np.zeros(SIZE, np.uint8)
    for number, left in places.items():
        ids[10:20, left : left + 10] = int(number[1:])
    return ids


def write_youtube_vos(
    root: Path,
    video: str,
    frames: Sequence[str],
    masks: Mapping[str, Ids],
    objects: Mapping[str, Sequence[str]],
) -> Path:
    """Add a video to a split of YouTube-VOS; `objects` are the frames of each."""
    write_frames(root / "JPEGImages" / video, frames)
    for name, ids in masks.items():
        write_mask(root / "Annotations" / video / f"{name}.png", ids)
    meta = root / "meta.json"
    videos = json.loads(meta.read_text())["videos"] if meta.exists() else {}
    videos[video] = {"objects": {key: {"category": "ape", "frames": list(value)} for key, value in objects.items()}}
    meta.write_text(json.dumps({"videos": videos}))
    return root


def write_mose(root: Path, video: str, masks: Sequence[Ids]) -> Path:
    names = [f"{index:05d}" for index in range(len(masks))]
    write_frames(root / "JPEGImages" / video, names)
    for name, ids in zip(names, masks, strict=True):
        write_mask(root / "Annotations" / video / f"{name}.png", ids)
    return root


def write_vip(root: Path, video: str, masks: Sequence[Ids]) -> Path:
    names = [f"{25 * index + 1:012d}" for index in range(len(masks))]
    write_frames(root / "Images" / video, names)
    for name, ids in zip(names, masks, strict=True):
        write_mask(root / "Annotations/Category_ids" / video / f"{name}.png", ids)
    (root / "lists").mkdir(exist_ok=True)
    with (root / "lists/val_videos.txt").open("a") as file:
        file.write(f"{video}\n")
    return root


def write_kubric(folder: Path, masks: Sequence[Ids]) -> Path:
    """A video with alpha, and with layers that are neither frames nor masks."""
    write_frames(folder, [f"rgba_{index:05d}" for index in range(len(masks))], ".png", "RGBA")
    for index, ids in enumerate(masks):
        write_mask(folder / f"segmentation_{index:05d}.png", ids)
        Image.fromarray(ids).save(folder / f"normal_{index:05d}.png")
    return folder
