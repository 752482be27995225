"""Warped copies of first frames, with their masks: videos whose truth is known, made from one annotated frame."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..datasets.video import Video
from ..synthetic.writing import write_davis

# Largest turn in degrees, change of scale, and shift in shares of the sides.
_TURN, _SCALE, _SHIFT = 15.0, 0.15, 0.08


def write_warped(root: Path, video: Video, *, copies: int, seed: int) -> None:
    """Write a video of the first annotated frame and warped copies of it, with all masks, into a DAVIS root.

    Edges are mirrored. Equal names and seeds give equal warps. Raises LabelError if the video has no mask.
    """
    annotated = video.read_annotated_masks()
    if not annotated:
        raise LabelError(f"{video.name} has no mask of an object")
    first = min(annotated)
    frame, mask = video.frames.read(first), annotated[first]
    digest = hashlib.sha256(f"{seed}/{video.name}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    frames, masks = [frame], [mask]
    size = (frame.shape[1], frame.shape[0])
    for _ in range(copies):
        matrix = random_affine(random, frame.shape[:2])
        mirrored: dict[str, Any] = {"dsize": size, "borderMode": cv2.BORDER_REFLECT_101}
        frames.append(np.asarray(cv2.warpAffine(frame, matrix, flags=cv2.INTER_LINEAR, **mirrored), np.uint8))
        masks.append(np.asarray(cv2.warpAffine(mask, matrix, flags=cv2.INTER_NEAREST, **mirrored), np.uint8))
    write_davis(root, video.name, np.stack(frames), np.stack(masks))


def random_affine(random: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return a random (2, 3) matrix for `cv2.warpAffine`: a turn and scaling about the centre, then a shift."""
    height, width = size
    turn, scale = random.uniform(-_TURN, _TURN), random.uniform(1 - _SCALE, 1 + _SCALE)
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale), dtype=np.float64)
    matrix[:, 2] += random.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    return matrix
