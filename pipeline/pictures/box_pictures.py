"""Pictures of boxes over frames: several results side by side with the ground truth."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from ..datasets.place_video import PlaceVideo
from ..datasets.video import Video
from ..runs.propagating.propagation import result_folder
from ..tasks.boxes.scoring import result_boxes, true_boxes
from .columns import Column, PictureOutput, write_columns
from .overlay import object_colour, overlay_boxes

__all__ = ["write_boxes"]


def write_boxes(video: Video, results: Mapping[str, Path], output: PictureOutput, *, truth: bool = True) -> list[Path]:
    """Draw the boxes of several results, or those around their masks, over the frames, side by side.

    Parameters, what is returned and what is raised are as of `write_masks`.
    """
    found = {title: result_boxes(video, result_folder(folder, video)) for title, folder in results.items()}
    if not found:
        raise ConfigError(f"there are no boxes of video {video.name!r} to show: name results with --results")
    columns = [_column(title, video, tuple(item.ids.tolist()), item.boxes) for title, item in found.items()]
    ids = tuple(sorted({number for item in found.values() for number in item.ids.tolist()}))
    if truth and (isinstance(video, PlaceVideo) or len(video.annotations()) > 1):
        columns.insert(0, _column("ground truth", video, ids, true_boxes(video, ids)))
    return write_columns(
        columns,
        video.frames.names,
        output,
        title=f"{video.name}: boxes",
        legend={object_colour(number): f"object {number}" for number in ids},
    )


def _column(title: str, video: Video, ids: tuple[int, ...], boxes: npt.NDArray[np.float64]) -> Column:
    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        for frame in frames:
            here = dict(zip(ids, boxes[:, frame].tolist(), strict=True))
            yield overlay_boxes(video.frames.read(frame), here)

    return Column(title=title, draw=draw)
