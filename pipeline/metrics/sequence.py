"""Scoring one video, frame by frame: predicted masks from files or from memory give the same numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, LabelError
from ..datasets.masks_io import VOID, read_mask
from .jf import Statistics, TrueContour, region_similarity, statistics

__all__ = ["ObjectScore", "SequenceScore", "SequenceTruth", "TrueFrame", "object_scores"]


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """J and F of one object.

    Attributes
    ----------
    object_id
        Its number in the masks, from 1.
    j, f
        Statistics over the scored frames.
    j_frames, f_frames
        The values that they summarise, one per scored frame, in [0, 1].
    """

    object_id: int
    j: Statistics
    f: Statistics
    j_frames: tuple[float, ...]
    f_frames: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SequenceScore:
    """J and F of the objects of one video.

    Attributes
    ----------
    name
        The video's name.
    frames
        Names of the scored frames.
    objects
        In the order of their numbers.
    """

    name: str
    frames: tuple[str, ...]
    objects: tuple[ObjectScore, ...]


class TrueFrame:
    """The ground truth of one frame.

    Parameters
    ----------
    ids
        (height, width), object numbers, 0 for the background and void.
    count
        Objects that are scored: those of the numbers 1 to `count`.
    """

    def __init__(self, ids: npt.NDArray[np.uint8], count: int) -> None:
        self._masks = [ids == number for number in range(1, count + 1)]

    @cached_property
    def _contours(self) -> list[TrueContour]:
        return [TrueContour(mask) for mask in self._masks]

    def region_similarity(self, predicted: npt.NDArray[np.uint8]) -> list[float]:
        """J of every object; `predicted` is (height, width), object numbers."""
        return [region_similarity(mask, predicted == number) for number, mask in enumerate(self._masks, 1)]

    def contour_accuracy(self, predicted: npt.NDArray[np.uint8]) -> list[float]:
        """F of every object; `predicted` is (height, width), object numbers."""
        return [contour.accuracy(predicted == number) for number, contour in enumerate(self._contours, 1)]


class SequenceTruth:
    """The ground truth of a video. Frames are read when they are asked for.

    The first and the last annotated frame are left out. The objects are those up to the largest number in the first
    annotation.

    Parameters
    ----------
    name
        The video's name.
    truth
        Masks by name of the frame, in order. `VOID` counts as background.

    Attributes
    ----------
    frames
        Names of the frames that are scored.
    size
        (height, width) in pixels.
    count
        Number of objects.

    Raises
    ------
    ConfigError
        When there are fewer than three annotated frames.
    LabelError
        When the first annotation cannot be read, or has no object.
    """

    def __init__(self, name: str, truth: Mapping[str, Path]) -> None:
        if len(truth) < 3:
            raise ConfigError(
                f"video {name!r} has {len(truth)} annotated frames; J&F leaves out the first and the last and needs "
                "three"
            )
        names = tuple(truth)
        first = _read(truth[names[0]], None)
        self.name = name
        self.frames = names[1:-1]
        self.size = (first.shape[0], first.shape[1])
        self.count = int(first.max())
        self._paths = dict(truth)
        if not self.count:
            raise LabelError(f"the first annotation of video {name!r} has no object: {truth[names[0]]}")

    def read(self, frame: str) -> TrueFrame:
        """Read a frame's annotation; raises LabelError when it cannot be read or is of another size."""
        return TrueFrame(_read(self._paths[frame], self.size), self.count)


def object_scores(j: npt.NDArray[np.float64], f: npt.NDArray[np.float64]) -> tuple[ObjectScore, ...]:
    """Summarise a video's values, (object, frame) each, over its frames."""
    return tuple(
        ObjectScore(
            object_id=number,
            j=statistics(j_frames),
            f=statistics(f_frames),
            j_frames=tuple(j_frames.tolist()),
            f_frames=tuple(f_frames.tolist()),
        )
        for number, (j_frames, f_frames) in enumerate(zip(j, f, strict=True), 1)
    )


def _read(path: Path, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    ids = read_mask(path, size)
    ids[ids == VOID] = 0
    return ids
