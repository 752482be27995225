"""Boxes of a video, frame by frame: read from results and masks, drawn, and scored by their overlap."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import ConfigError
from ...datasets.masks_io import read_mask
from ...datasets.table_video import TableVideo, mask_boxes
from ...datasets.video import Video
from ...metrics.boxes import intersection_over_union
from ...pictures.overlay import object_colour, overlay_boxes
from ..drawing import DrawnFrames, Picture
from .results import BOXES, BoxResult

_Array = npt.NDArray[np.float64]


class BoxFrames(DrawnFrames):
    """Boxes of a video, or boxes around its masks, and the true ones; raises LabelError as `Task.open_frames`."""

    noun = "boxes"
    metric = BOXES.official[BOXES.order[0]]

    def __init__(self, video: Video, folder: Path) -> None:
        self._result = result = BoxResult.read(folder) if BoxResult.exists(folder) else result_boxes(video, folder)
        super().__init__(video, folder, result.frames)
        self._ids: list[int] = result.ids.tolist()
        self.has_truth = isinstance(video, TableVideo) or len(video.annotations()) > 1
        if self.has_truth:
            columns = [video.frames.names.index(name) for name in result.frames]
            self._truth = true_boxes(video, tuple(self._ids))[:, columns]
            self.ranked = result.frames

    def score(self, frame: str) -> float | None:
        """Return the mean IoU over the objects with a true box in a frame that are not annotated there."""
        if not self.has_truth or frame not in self.index:
            return None
        index = self.index[frame]
        overlaps = intersection_over_union(self._truth[:, index], self._result.boxes[:, index])
        counted = overlaps[~self._result.given[:, index] & ~np.isnan(overlaps)]
        return float(counted.mean()) if len(counted) else None

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        return {object_colour(number): f"object {number}" for number in self._ids}

    def draw_layer(self, picture: Picture, index: int, scale: float, *, truth: bool) -> Picture:
        boxes = (self._truth if truth else self._result.boxes)[:, index] * scale
        return overlay_boxes(picture, dict(zip(self._ids, boxes.tolist(), strict=True)))


def true_boxes(video: Video, ids: tuple[int, ...]) -> _Array:
    """Return the true boxes of some objects: (object, frame, 4), x, y, width, height; NaN where there is none.

    Raises ConfigError when the video has no ground truth, and LabelError when it cannot be read.
    """
    boxes = np.full((len(ids), len(video.frames), 4), np.nan)
    if isinstance(video, TableVideo):
        given = video.read_truth()
        row_of = {number: row for row, number in enumerate(given.ids)}
        for frame, rows in given.rows.items():
            for row, number in enumerate(ids):
                if number in row_of:
                    boxes[row, frame] = rows[row_of[number]]
        return boxes
    truth = video.true_masks()
    if len(truth.paths) < 2:
        raise ConfigError(
            f"there are no true boxes of video {video.name!r}: give them with --annotations, or the root of a dataset "
            "whose frames have masks"
        )
    for frame, name in enumerate(video.frames.names):
        if name in truth.paths:
            boxes[:, frame] = mask_boxes(truth.read(name, video.frames.size), ids)
    return boxes


def result_boxes(video: Video, folder: Path) -> BoxResult:
    """Read the boxes of a result, or those around its masks; raises LabelError if frames differ from the video's."""
    names = video.frames.names
    if BoxResult.exists(folder) or isinstance(video, TableVideo):
        result = BoxResult.read(folder)
        result.check_frames(folder, names)
        return result
    masks = video.read_annotated_masks()
    ids = tuple(sorted({int(number) for mask in masks.values() for number in np.unique(mask) if number}))
    written = set(video.written_frames())
    boxes, given = np.full((len(ids), len(names), 4), np.nan), np.zeros((len(ids), len(names)), dtype=bool)
    for frame, name in enumerate(names):
        if name in written:
            boxes[:, frame] = mask_boxes(read_mask(folder / f"{name}.png", video.frames.size), ids)
        if frame in masks:
            given[:, frame] = [bool((masks[frame] == number).any()) for number in ids]
    return BoxResult(
        frames=names,
        numbers=np.arange(1, len(names) + 1),
        ids=np.array(ids),
        boxes=boxes,
        mass=np.isfinite(boxes).all(2).astype(np.float64),
        given=given,
    )
