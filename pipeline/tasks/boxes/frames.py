"""Boxes, frame by frame: scored by the mean IoU over the objects."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.place_video import PlaceVideo
from ...datasets.video import Video
from ...metrics.boxes import intersection_over_union
from ...pictures.overlay import overlay_boxes
from ..drawn_frames import DrawnFrames
from ..metric_specs import BOXES
from .results import BoxResult
from .scoring import true_boxes

__all__ = ["BoxFrames"]

_Array = NDArray[np.float64]


class BoxFrames(DrawnFrames):
    """The boxes of a video.

    Parameters
    ----------
    video
        The video, with its true boxes or masks if it has any.
    folder
        Of the results.

    Raises
    ------
    LabelError
        For results or a truth that cannot be read, or are of other frames.
    """

    noun = "boxes"
    measure = BOXES.official[BOXES.order[0]]

    def __init__(self, video: Video, folder: Path) -> None:
        self._result = result = BoxResult.read(folder)
        super().__init__(video, folder, result.frames)
        self.found = partial(_draw, result.ids.tolist(), result.boxes)
        self._truth: _Array | None = None
        if isinstance(video, PlaceVideo) or len(video.annotations()) > 1:
            place_of = {name: place for place, name in enumerate(video.frames.names)}
            ids = result.ids.tolist()
            self._truth = true_boxes(video, tuple(ids))[:, [place_of[name] for name in result.frames]]
            self.true = partial(_draw, ids, self._truth)

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the frames, where there is a truth."""
        return () if self._truth is None else self._result.frames

    def score(self, frame: str) -> float | None:
        """Return the mean IoU over the objects that have a true box in a frame, and are not given there."""
        if self._truth is None or frame not in self.index:
            return None
        index = self.index[frame]
        overlaps = intersection_over_union(self._truth[:, index], self._result.boxes[:, index])
        counted = overlaps[~self._result.given[:, index] & ~np.isnan(overlaps)]
        return float(counted.mean()) if len(counted) else None


def _draw(ids: Sequence[int], boxes: _Array, picture: NDArray[np.uint8], index: int, scale: float) -> NDArray[np.uint8]:
    return overlay_boxes(picture, dict(zip(ids, (boxes[:, index] * scale).tolist(), strict=True)))
