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
from ..drawing import MarkFrames, check_selected
from .results import POINTS, PointScore, TrackResult


def point_frames(video: Video, folder: Path) -> MarkFrames:
    """Open a video's points for drawing; a user's own points have no score."""
    result = TrackResult.read(folder)
    check_selected(video, folder, result.frames)
    true, size, tracks = true_points(video, result.frames), video.frames.size, None
    if isinstance(video, TrackVideo) and result.mode != "given":
        tracks = read_tracks(video, folder, result)

    def score(index: int) -> float | None:
        """Return the average Jaccard in a frame, over the points that are queried there."""
        assert tracks is not None
        here = slice(index, index + 1)
        one = replace(
            result,
            frames=result.frames[here],
            query_frames=result.query_frames - index,
            places=result.places[:, here],
            mass=result.mass[:, here],
            visible=result.visible[:, here],
        )
        truth = Tracks(xy=tracks.xy[:, here], occluded=tracks.occluded[:, here])
        return PointScore.of(one, truth, size).values[POINTS.order[0]]

    return MarkFrames(
        video,
        folder,
        noun="points",
        metric=POINTS.official[POINTS.order[0]],
        found=result_points(result),
        true=true,
        ranked=() if tracks is None else result.frames,
        score=score,
    )


def result_points(result: TrackResult) -> Marks:
    """Convert the points of a result to marks; tracks of a dataset count from 0, ids of a user from 1."""
    first = 1 if result.mode == "given" else 0
    return _marks(result.frames, result.places, result.visible, result.tracks.tolist(), first=first)


def true_points(video: Video, frames: Sequence[str]) -> Marks | None:
    """Return the true points of a video in some frames, or a user's annotated points; None if there are none."""
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


def read_tracks(video: TrackVideo, folder: Path, result: TrackResult) -> Tracks:
    """Return the true tracks in the frames of a result; raises LabelError if the result has more tracks."""
    truth = video.tracks.read(result.frames, video.frames.size)
    if len(result.tracks) and int(result.tracks.max()) >= len(truth.xy):
        raise LabelError(f"{folder} has more tracks than the ground truth, which has {len(truth.xy)}")
    return truth


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
