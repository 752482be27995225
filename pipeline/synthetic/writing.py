"""Synthetic videos on disk: a DAVIS-2017 root, and beside it what DAVIS has no place for."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from ..datasets.listing import is_plain_name
from ..runs.files import written_whole
from ..tasks.masks.png import write_mask
from .rendering import Clip
from .scene import SceneSpec

__all__ = ["write_davis", "write_list", "write_truth"]


def write_davis(
    root: Path, name: str, frames: npt.NDArray[np.uint8], masks: npt.NDArray[np.uint8], set_name: str = "val"
) -> None:
    """Write a video as a sequence of a DAVIS-2017 root, made if absent, and add it to a set.

    Parameters
    ----------
    root
        DAVIS root.
    name
        The sequence's name.
    frames
        (frame, height, width, 3), RGB; written as JPEG of quality 95.
    masks
        (frame, height, width), object numbers; written as palette PNG.
    set_name
        Name of the list in ``ImageSets/2017``.

    Raises
    ------
    ConfigError
        When the name is not that of a folder, or frames and masks do not fit together.
    """
    if not is_plain_name(name):
        raise ConfigError(f"{name!r} cannot be the name of a sequence")
    if frames.shape[:-1] != masks.shape or not len(frames):
        raise ConfigError(f"frames of shape {frames.shape} and masks of shape {masks.shape} do not fit together")
    for index, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        with written_whole(root / "JPEGImages" / "480p" / name / f"{index:05d}.jpg") as path:
            path.write_bytes(data.tobytes())
        write_mask(root / "Annotations" / "480p" / name / f"{index:05d}.png", mask)
    listing = _listing(root, set_name)
    names = listing.read_text(encoding="utf-8").split("\n") if listing.exists() else []
    names = [line for line in names if line]
    if name not in names:
        write_list(root, set_name, [*names, name])


def write_list(root: Path, set_name: str, names: list[str]) -> None:
    """Write the list of a set's sequences, in place of any that is there."""
    with written_whole(_listing(root, set_name)) as path:
        path.write_text("\n".join(names) + "\n", encoding="utf-8")


def write_truth(root: Path, name: str, spec: SceneSpec, clip: Clip, measured: Mapping[str, Any]) -> None:
    """Write what is known of a video beside its masks.

    ``Tracks/<name>.json`` holds the specification, the statistics, ``centres`` (object, frame, 2), and ``points``
    (object, point, frame, 2) with ``visible`` (object, point, frame), the first point of each object being its centre.
    Coordinates are x and y in pixels, with the centre of the first pixel at (0, 0), rounded to a hundredth.
    """
    content = {
        "spec": dataclasses.asdict(spec),
        "statistics": dict(measured),
        "centres": np.round(clip.centres, 2).tolist(),
        "points": np.round(clip.points, 2).tolist(),
        "visible": clip.visible.tolist(),
    }
    with written_whole(root / "Tracks" / f"{name}.json") as path:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _listing(root: Path, set_name: str) -> Path:
    return root / "ImageSets" / "2017" / f"{set_name}.txt"
