"""Difficulty of a synthetic video: proximity, overlap and occlusion of its objects."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .paths import gaps
from .rendering import Clip


@dataclass(frozen=True, kw_only=True)
class ClipStatistics:
    """Statistics over the frames after the first."""

    # share of frames and objects for which a pixel of another object lies inside the search window of a pixel of
    # the object, so that appearance alone could confuse the two; in [0, 1]
    in_window: float
    overlapping: float  # share of frames in which two objects overlap, in [0, 1]
    least_visible: float  # smallest visible share of an object, over objects and frames, in [0, 1]
    speed: float  # mean speed of the objects, in pixels per frame


def clip_statistics(clip: Clip, window: float) -> ClipStatistics:
    """Measure a video of at least two frames.

    `window` is half the side of the search window in pixels: radius of propagation times stride of the features.
    """
    masks, ids = clip.masks[1:], range(1, len(clip.centres) + 1)
    near = np.zeros((len(ids), len(masks)), dtype=bool)
    for frame, mask in enumerate(masks):
        boxes = {number: _box(mask == number) for number in ids if (mask == number).any()}
        for number, (low, high) in boxes.items():
            others = [box for other, box in boxes.items() if other != number]
            # Windows are square, so distances count per axis; objects are convex, so boxes can replace them.
            near[number - 1, frame] = any(np.maximum(low - b, a - high).max() <= window for a, b in others)
    whole = (clip.masks[0][None] == np.arange(1, len(ids) + 1)[:, None, None]).sum((1, 2))
    seen = np.stack([(masks == number).sum((1, 2)) / max(1, whole[number - 1]) for number in ids])
    between = gaps(clip.centres, clip.radii)[:, 1:]
    steps = np.linalg.norm(np.diff(clip.centres, axis=1), axis=-1)
    return ClipStatistics(
        in_window=float(near.mean()),
        overlapping=float((between < 0).any(axis=0).mean()) if len(between) else 0.0,
        least_visible=float(seen.min().clip(0, 1)),
        speed=float(steps.mean()),
    )


def _box(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the smallest and the largest (y, x) of a mask that is not empty."""
    cells = np.argwhere(mask)
    return cells.min(axis=0), cells.max(axis=0)
