"""Pictures of joints and points over frames: several results side by side with the ground truth."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from ..datasets.video import Video
from ..runs.propagating.propagation import result_folder
from ..tasks.archives import check_frames
from .columns import Column, PictureOutput, write_columns
from .marks import Marks, result_marks, true_marks

__all__ = ["point_legend", "write_points"]

# Names in a legend at most: more would be larger than the pictures, and share colours.
_NAMED = 40


def write_points(video: Video, results: Mapping[str, Path], output: PictureOutput, *, truth: bool = True) -> list[Path]:
    """Draw the joints or points of several results over the frames, side by side.

    Points that are said to be hidden are rings; lost ones are not drawn.

    Parameters, what is returned and what is raised are as of `write_masks`; of a user's points, the truth is what is
    given.
    """
    names = video.frames.names
    found = {title: result_marks(result_folder(folder, video)) for title, folder in results.items()}
    for title, marks in found.items():
        check_frames(result_folder(results[title], video), marks.frames, names)
    true = true_marks(video, names) if truth else None
    if true is not None:
        found = {"ground truth": true, **found}
    if not found:
        raise ConfigError(f"there are no points of video {video.name!r} to show: name results with --results")
    legend = {colour: name for marks in reversed(found.values()) for colour, name in point_legend(marks).items()}
    return write_columns(
        [_column(title, video, marks) for title, marks in found.items()],
        names,
        output,
        title=f"{video.name}: {'joints' if any(marks.links for marks in found.values()) else 'points'}",
        legend=dict(sorted(legend.items())),
    )


def point_legend(marks: Marks) -> dict[int, str]:
    """Return the names of points by their colour; none of too many."""
    return dict(marks.names) if len(marks.names) <= _NAMED else {}


def _column(title: str, video: Video, marks: Marks) -> Column:
    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        for frame in frames:
            yield marks.draw(video.frames.read(frame), frame)

    return Column(title=title, draw=draw)
