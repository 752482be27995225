"""Masks of a video, frame by frame: drawn, and scored by J&F."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import numpy.typing as npt

from ....store.errors import ConfigError, LabelError
from ...datasets.masks_io import read_mask
from ...datasets.video import Video
from ...metrics.jf import contour_accuracy, region_similarity
from ...pictures.overlay import overlay_mask
from ...runs.result_folders import result_folder
from ..drawing import Picture, ResultFrames
from .truth import scored_frames

#: Reads the mask of a frame by its index: (height, width), uint8; None where there is none.
ReadMask = Callable[[int], npt.NDArray[np.uint8] | None]


class MaskFrames(ResultFrames):
    """Masks of a video; raises LabelError when the folder has none of the video's frames."""

    noun = "masks"
    metric = "J&F"

    def __init__(self, video: Video, folder: Path) -> None:
        self._folder = folder
        self._truth = video.true_masks()
        self._size = video.frames.size
        self.frames = [name for name in video.frames.names if (folder / f"{name}.png").is_file()]
        if not self.frames:
            raise LabelError(
                f"there are no masks of video {video.name!r} in {folder.parent}: `ted propagate` makes them, with "
                f"--out {folder.parent}"
            )
        self.has_truth = len(self._truth.paths) > 1
        # DAVIS leaves the first and the last annotation out.
        scored = _own_scored(video, folder) or list(self._truth.paths)[1:-1]
        self.ranked = [name for name in scored if name in self.frames]

    def score(self, frame: str) -> float | None:
        """Return the mean of (J + F) / 2 over objects, including objects that joined."""
        if frame not in self._truth.paths or frame not in self.frames:
            return None
        true = self._truth.read(frame)
        predicted = read_mask(self._folder / f"{frame}.png", (true.shape[0], true.shape[1]))
        numbers = sorted({*self._first_objects, *np.unique(true).tolist()} - {0})
        pairs = [(true == number, predicted == number) for number in numbers]
        return fmean((region_similarity(*pair) + contour_accuracy(*pair)) / 2 for pair in pairs) if pairs else None

    def draw(self, picture: Picture, frame: str) -> Picture | None:
        return _draw(picture, read_mask(self._folder / f"{frame}.png", self._size)) if frame in self.frames else None

    def draw_truth(self, picture: Picture, frame: str) -> Picture | None:
        return _draw(picture, self._truth.read(frame, self._size)) if frame in self._truth.paths else None

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        masks = [read_mask(self._folder / f"{frame}.png") for frame in frames if frame in self.frames]
        masks += [self._truth.read(frame) for frame in frames if truth and frame in self._truth.paths]
        seen = {int(number) for ids in masks for number in np.unique(ids)}
        return {number: f"object {number}" for number in sorted(seen - {0})}

    @cached_property
    def _first_objects(self) -> set[int]:
        """Objects of the first annotation, as the official evaluation counts them: up to its largest number."""
        first = next(iter(self._truth.paths), None)
        return set() if first is None else set(range(1, int(self._truth.read(first).max()) + 1))


def result_masks(video: Video, results: Path) -> ReadMask:
    """Return a function that reads the masks of a result, which may lack frames; raises LabelError if it has none."""
    folder = result_folder(results, video)
    there = set(MaskFrames(video, folder).frames)

    def read(frame: int) -> npt.NDArray[np.uint8] | None:
        name = video.frames.names[frame]
        return read_mask(folder / f"{name}.png", video.frames.size) if name in there else None

    return read


def true_masks(video: Video) -> ReadMask:
    """Return a function that reads the true masks of a video; void pixels are background."""
    truth = video.true_masks()

    def read(frame: int) -> npt.NDArray[np.uint8] | None:
        name = video.frames.names[frame]
        return truth.read(name, video.frames.size) if name in truth.paths else None

    return read


def _own_scored(video: Video, folder: Path) -> list[str]:
    """Return the names of the scored frames for a user's own masks; empty if DAVIS' rule applies."""
    try:
        frames = scored_frames(video, folder) if video.own_truth else None
    except ConfigError:
        return []
    scored = {name for of_object in (frames or {}).values() for name in of_object}
    return [name for name in video.annotations() if name in scored]


def _draw(picture: Picture, ids: npt.NDArray[np.uint8]) -> Picture:
    resized = cv2.resize(ids, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return overlay_mask(picture, resized.astype(np.uint8, copy=False))
