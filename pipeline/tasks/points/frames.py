"""Points of a video, frame by frame: drawn, and scored by TAP-Vid's average Jaccard."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....store.errors import LabelError
from ...datasets.point_queries import Tracks
from ...datasets.table_video import TableVideo
from ...datasets.tapvid import TrackVideo
from ...datasets.video import Video
from ...pictures.marks import Marks
from ...pictures.overlay import object_colour
from ..drawn_frames import MarkFrames
from ..tables import known_value
from .results import TrackResult
from .scores import POINTS, score_track_result

__all__ = ["PointFrames", "check_tracks", "result_points", "true_points"]


class PointFrames(MarkFrames):
    """Points of a video; a user's own points have no score.

    Parameters
    ----------
    video
        The video, with its true points if it has any.
    folder
        Folder of the results.

    Raises
    ------
    LabelError
        For results or ground truth that cannot be read, or have other frames or tracks.
    """

    noun = "points"
    metric = POINTS.official[POINTS.order[0]]

    def __init__(self, video: Video, folder: Path) -> None:
        self._result = result = TrackResult.read(folder)
        super().__init__(video, folder, result_points(result), lambda: true_points(video, result.frames))
        self._size = video.frames.size
        self._tracks: Tracks | None = None
        if isinstance(video, TrackVideo) and result.mode != "given":
            self._tracks = video.tracks.read(result.frames, self._size)
            check_tracks(folder, result, self._tracks)

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of all frames if there is ground truth, else none."""
        return () if self._tracks is None else self._result.frames

    def score(self, frame: str) -> float | None:
        """Return the average Jaccard in a frame, over the points that are queried there."""
        result, tracks = self._result, self._tracks
        if tracks is None or result.mode == "given" or frame not in self.index:
            return None
        index = self.index[frame]
        here = slice(index, index + 1)
        one = replace(
            result,
            frames=(frame,),
            query_frames=result.query_frames - index,
            places=result.places[:, here],
            mass=result.mass[:, here],
            visible=result.visible[:, here],
        )
        true = Tracks(xy=tracks.xy[:, here], occluded=tracks.occluded[:, here])
        return known_value(score_track_result(one, result.mode, true, self._size).values[POINTS.order[0]])


def result_points(result: TrackResult) -> Marks:
    """Convert the points of a result to marks; tracks of a dataset count from 0, ids of a user from 1."""
    first = 1 if result.mode == "given" else 0
    return _marks(result.frames, result.places, result.visible, result.tracks.tolist(), first=first)


def true_points(video: Video, frames: Sequence[str]) -> Marks | None:
    """Return the true points of a video in some frames, or a user's annotated points; None if there are none.

    Raises
    ------
    LabelError
        When they cannot be read.
    """
    if isinstance(video, TrackVideo):
        tracks = video.tracks.read(frames, video.frames.size)
        return _marks(frames, tracks.xy, ~tracks.occluded, list(range(len(tracks.xy))), first=0)
    if isinstance(video, TableVideo) and video.table.kind == "points":
        given = video.read_table()
        xy = np.full((len(given.ids), len(frames), 2), np.nan)
        index = {name: column for column, name in enumerate(frames)}
        for frame, rows in given.rows.items():
            if (name := video.frames.names[frame]) in index:
                xy[:, index[name]] = rows
        return _marks(frames, xy, np.asarray(np.isfinite(xy).all(2)), list(given.ids), first=1)
    return None


def check_tracks(folder: Path, result: TrackResult, truth: Tracks) -> None:
    """Raise LabelError if the result has more tracks than the ground truth."""
    if len(result.tracks) and int(result.tracks.max()) >= len(truth.xy):
        raise LabelError(f"{folder} has more tracks than the ground truth, which has {len(truth.xy)}")


def _marks(
    frames: Sequence[str],
    xy: npt.NDArray[np.float64],
    visible: npt.NDArray[np.bool_],
    numbers: Sequence[int],
    *,
    first: int,
) -> Marks:
    colours = tuple(object_colour(number + 1 - first) for number in numbers)
    names = {colour: f"point {number}" for colour, number in zip(colours, numbers, strict=True)}
    return Marks(frames=tuple(frames), xy=xy, visible=visible, colours=colours, names=names)
