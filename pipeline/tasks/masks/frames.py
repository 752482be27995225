"""Masks, frame by frame: scored by the mean over the objects of J&F."""

from functools import cached_property
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray

from ...datasets.masks_io import VOID, read_mask
from ...datasets.video import Video
from ...metrics.jf import contour_accuracy, region_similarity
from ...pictures.overlay import overlay_mask

__all__ = ["MaskFrames"]


class MaskFrames:
    """The masks of a video.

    The first annotated frame, which is given, and the last do not count, as in the official evaluation.

    Parameters
    ----------
    video
        The video, with its true masks.
    folder
        Of the results.
    """

    noun = "masks"
    measure = "J&F"

    def __init__(self, video: Video, folder: Path) -> None:
        self._folder = folder
        self._truth = video.annotations()
        self._size = video.frames.size

    @property
    def ranked(self) -> list[str]:
        """Names of annotated frames that have a result."""
        return [name for name in list(self._truth)[1:-1] if self._path(name).is_file()]

    def score(self, frame: str) -> float | None:
        """Return the mean over the objects, those given first and those that joined, of (J + F) / 2."""
        if frame not in self._truth or not self._path(frame).is_file():
            return None
        true = _objects(self._truth[frame])
        predicted = read_mask(self._path(frame), (true.shape[0], true.shape[1]))
        numbers = sorted({*self._given, *np.unique(true).tolist()} - {0})
        pairs = [(true == number, predicted == number) for number in numbers]
        return fmean((region_similarity(*pair) + contour_accuracy(*pair)) / 2 for pair in pairs) if pairs else None

    def draw(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw the masks of a frame."""
        path = self._path(frame)
        return _over(picture, read_mask(path, self._size)) if path.is_file() else None

    def draw_truth(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw the true masks of a frame."""
        return _over(picture, _objects(self._truth[frame])) if frame in self._truth else None

    @cached_property
    def _given(self) -> set[int]:
        """The objects of the first annotation, as the official evaluation counts them: up to its largest number."""
        first = next(iter(self._truth.values()), None)
        return set() if first is None else set(range(1, int(_objects(first).max()) + 1))

    def _path(self, frame: str) -> Path:
        return self._folder / f"{frame}.png"


def _objects(path: Path) -> NDArray[np.uint8]:
    ids = read_mask(path)
    ids[ids == VOID] = 0
    return ids


def _over(picture: NDArray[np.uint8], ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(ids, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return overlay_mask(picture, small.astype(np.uint8, copy=False))
