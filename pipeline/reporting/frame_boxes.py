"""Boxes, frame by frame: scored by the mean IoU over the objects."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...store.errors import LabelError
from ..box_results import BoxResult
from ..datasets.place_video import PlaceVideo
from ..datasets.video import Video
from ..metrics.box_videos import true_boxes
from ..metrics.boxes import intersection_over_union
from ..show.overlay import overlay_boxes
from ..sweeping.yardsticks import BOXES

__all__ = ["BoxFrames"]

_Array = NDArray[np.float64]


class BoxFrames:
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
        self._result = BoxResult.read(folder)
        self._ids = self._result.ids.tolist()
        self._index = {name: index for index, name in enumerate(self._result.frames)}
        self._size = video.frames.size
        place_of = {name: place for place, name in enumerate(video.frames.names)}
        unknown = self._index.keys() - place_of.keys()
        if unknown:
            raise LabelError(f"{folder} is of frame {min(unknown)}, which video {video.name!r} does not have")
        self._truth: _Array | None = None
        if isinstance(video, PlaceVideo) or len(video.annotations()) > 1:
            self._truth = true_boxes(video, tuple(self._ids))[:, [place_of[name] for name in self._result.frames]]

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the frames, where there is a truth."""
        return () if self._truth is None else self._result.frames

    def score(self, frame: str) -> float | None:
        """Return the mean IoU over the objects that have a true box in a frame, and are not given there."""
        if self._truth is None or frame not in self._index:
            return None
        index = self._index[frame]
        overlaps = intersection_over_union(self._truth[:, index], self._result.boxes[:, index])
        counted = overlaps[~self._result.given[:, index] & ~np.isnan(overlaps)]
        return float(counted.mean()) if len(counted) else None

    def draw(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw the boxes of a frame."""
        return self._over(picture, frame, self._result.boxes)

    def draw_truth(self, picture: NDArray[np.uint8], frame: str) -> NDArray[np.uint8] | None:
        """Draw the true boxes of a frame."""
        return None if self._truth is None else self._over(picture, frame, self._truth)

    def _over(self, picture: NDArray[np.uint8], frame: str, boxes: _Array) -> NDArray[np.uint8] | None:
        if frame not in self._index:
            return None
        here = boxes[:, self._index[frame]] * (picture.shape[1] / self._size[1])
        return overlay_boxes(picture, dict(zip(self._ids, here.tolist(), strict=True)))
