"""Pictures of joints and points over frames: several results side by side with the ground truth."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, LabelError
from ..datasets.video import Video
from ..propagation import result_folder
from .columns import Column, Look, write_columns
from .marks import Marks, result_marks, true_marks

__all__ = ["point_legend", "write_points"]

# Names in a legend at most: more would be larger than the pictures, and share colours.
_NAMED = 40


def write_points(video: Video, results: Mapping[str, Path], look: Look, *, truth: bool = True) -> list[Path]:
    """Draw the joints or points of several results over the frames, side by side.

    Points that are said to be hidden are rings; lost ones are not drawn.

    Parameters
    ----------
    video
        The frames.
    results
        Folders of results, as `ted propagate --out` makes them, by the titles of their columns.
    look
        Which frames, and where to.
    truth
        Show the true ones in the first column, where the video has any; of a user's points, those that are given.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    ConfigError
        When there is nothing to show.
    LabelError
        When a result is not of this video, or it or the truth cannot be read.
    """
    names = video.frames.names
    found = {title: result_marks(result_folder(folder, video)) for title, folder in results.items()}
    for title, marks in found.items():
        if marks.frames != names:
            raise LabelError(
                f"{result_folder(results[title], video)} is of {len(marks.frames)} frames, the video as selected here "
                f"has {len(names)}, or others: give --every and --limit as in `ted propagate`"
            )
    true = true_marks(video, names) if truth else None
    if true is not None:
        found = {"ground truth": true, **found}
    if not found:
        raise ConfigError(f"there are no points of video {video.name!r} to show: name results with --results")
    legend = {colour: name for marks in reversed(found.values()) for colour, name in point_legend(marks).items()}
    return write_columns(
        [_column(title, video, marks) for title, marks in found.items()],
        names,
        look,
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
