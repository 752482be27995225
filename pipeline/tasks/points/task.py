"""The task of tracking points: TAP-Vid, tracks of synthetic videos, and a user's own points."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ....propagate.targets.points import PointTarget, TrackedPoints
from ....store.errors import ConfigError, LabelError
from ...datasets.point_queries import QueryMode, Tracks, choose_queries
from ...datasets.table_video import TableVideo
from ...datasets.tapvid import TrackVideo
from ...datasets.video import Video
from ...metrics.confidence import certainty_of_places
from ..archives import ResultRun
from ..base import AnnotatedTarget, EvalCase, Evaluation, ResultEvaluator, Task
from ..drawing import MarkFrames
from ..tables import TableLayout, text_table, write_table
from .frames import point_frames, read_tracks
from .results import POINTS, PointScore, TrackMode, TrackResult

_Array = npt.NDArray[np.float64]


class PointRun(ResultRun):
    """Points of a video. Points with the same annotated frames form one target; they do not influence each other.

    `tracks` has the number of the track, or the id, of each point. `groups` are indices of points with the same
    annotated frames, and their (point, 2), x and y, by index of the frame.
    """

    files = (TrackResult.archive, TrackResult.table)
    result: TrackResult

    def __init__(
        self,
        video: Video,
        mode: TrackMode,
        tracks: npt.NDArray[np.integer],
        groups: Sequence[tuple[Sequence[int], Mapping[int, _Array]]],
        record: Mapping[str, Any],
    ) -> None:
        shape = len(tracks), len(video.frames)
        query_frames = np.zeros(len(tracks), dtype=np.intp)
        for points, rows in groups:
            query_frames[list(points)] = min(rows)
        self._points = [list(points) for points, _ in groups]
        self.result = TrackResult(
            frames=video.frames.names,
            mode=mode,
            query_frames=query_frames,
            tracks=tracks,
            places=np.full((*shape, 2), np.nan),
            mass=np.zeros(shape),
            visible=np.zeros(shape, dtype=bool),
            confidence=np.full(shape, np.nan),
        )
        size = video.frames.size
        self.targets = [AnnotatedTarget(tuple(rows), PointTarget(rows=rows, size=size)) for _, rows in groups]
        self.backward = mode != "first"
        self.record = record

    @classmethod
    def of_queries(cls, video: TrackVideo, mode: QueryMode) -> "PointRun":
        """Query true tracks as TAP-Vid does; raises LabelError if no point is visible in a query frame."""
        truth = video.tracks.read(video.frames.names, video.frames.size)
        queries = choose_queries(truth, mode)
        if not len(queries.frames):
            raise LabelError(f"video {video.name!r} has no visible point to begin with (queries: {mode})")
        given = truth.xy[queries.tracks, queries.frames]  # (query, 2)
        digest = hashlib.sha256(given.tobytes() + queries.frames.tobytes() + queries.tracks.tobytes()).hexdigest()
        groups = [(points.tolist(), {frame: given[points]}) for frame, points in queries.by_frame()]
        record = {"queries": mode, "points": len(given), "given": digest}
        return cls(video, mode, queries.tracks, groups, record)

    @classmethod
    def of_table(cls, video: TableVideo) -> "PointRun":
        """Take the points of a table, in any frames; raises LabelError when it does not fit the video."""
        given = video.read_table()
        record = {"points": len(given.ids), "given": given.digest()}
        return cls(video, "given", np.array(given.ids), given.groups(), record)

    def collect(self, number: int, frame: int, value: TrackedPoints, label: torch.Tensor) -> None:
        """Take the points of a target in a frame."""
        points = self._points[number]
        self.result.places[points, frame] = value.places
        self.result.mass[points, frame] = value.mass
        self.result.visible[points, frame] = value.visible
        maps = label.double().cpu().numpy()
        self.rate(number, frame, points, lambda: certainty_of_places(maps) * np.minimum(value.mass, 1.0))


@dataclass(frozen=True, kw_only=True)
class PointTask(Task):
    """Points, scored by TAP-Vid's metrics; a user's own points have no ground truth.

    Attributes
    ----------
    query_mode
        Which points of TAP-Vid are queried, and in which frames.
    """

    name = "points"
    noun = "points"
    metric_spec = POINTS
    score_type = PointScore
    tables = ("tapvid_*", None)
    layout = TableLayout(titles={column: column for column in POINTS.columns}, percent=True)

    query_mode: QueryMode = "first"

    def used_options(self, video: Video) -> dict[str, Any]:
        return {"query_mode": self.query_mode} if isinstance(video, TrackVideo) else {}

    def start(self, video: Video) -> PointRun:
        return PointRun.of_table(video) if isinstance(video, TableVideo) else self._queries(video)

    def missing_truth(self, video: Video) -> str | None:
        if not isinstance(video, TrackVideo):
            return "has points without true tracks, which cannot be scored; sweep over points of TAP-Vid"
        return None if len(video.frames) > 1 else "has only one frame, in which points are annotated"

    def eval_case(self, video: Video) -> EvalCase:
        run = self._queries(video)
        size = video.frames.size
        truth = _track_video(video).tracks.read(video.frames.names, size)
        digest = hashlib.sha256(f"{self.query_mode} {truth.xy.shape} {size} ".encode())
        digest.update(truth.xy.tobytes() + truth.occluded.tobytes())
        return EvalCase(
            targets=run.targets,
            evaluator=ResultEvaluator(run=run, score_run=partial(_score_run, truth=truth, size=size)),
            key={"truth": digest.hexdigest(), "metrics": "tapvid"},
        )

    def has_results(self, folder: Path) -> bool:
        return TrackResult.exists(folder)

    def score_video(self, video: Video, folder: Path) -> PointScore:
        """Score the points of one video, on a raster of 256x256; see `Task`."""
        if not isinstance(video, TrackVideo):
            raise ConfigError(
                f"the points of video {video.name!r} cannot be scored: they have no true tracks, unlike TAP-Vid"
            )
        result = TrackResult.read(folder)
        result.check_frames(folder, video.frames.names)
        if result.mode == "given":
            raise LabelError(f"{folder} has a user's own points, not queries of TAP-Vid")
        score = PointScore.of(result, read_tracks(video, folder, result), video.frames.size)
        if all(value is None for value in score.values.values()):
            raise ConfigError(f"video {video.name!r} has no frame in which a queried point is scored")
        return score

    def evaluation(self, scores: Mapping[str, PointScore], results: Path, set_name: str) -> Evaluation:
        """Summarise TAP-Vid's metrics, and write a table by video, in percent."""
        modes = {item.mode for item in scores.values()}
        if len(modes) > 1:
            raise ConfigError(
                f"{results} has results of both query modes; propagate all videos with the same query mode"
            )
        (mode,) = modes
        mean = PointScore.means(list(scores.values()))
        per_video = {name: item.values for name, item in scores.items()}
        percent = {
            name: [math.nan if value is None else 100 * value for value in values.values()]
            for name, values in [*per_video.items(), ("mean", mean)]
        }
        table = write_table(results / f"tapvid_{mode}.csv", ["Video", *mean], percent)
        shown = ["video", *(POINTS.official[column] for column in POINTS.shown)]
        lines = text_table(shown, ((name, row[:3]) for name, row in percent.items()), digits=1)
        lines.append("  ".join(f"{name} {value:.1f}" for name, value in zip(mean, percent["mean"], strict=True)))
        lines.append(f"queries: {mode}; table: {table}")
        return Evaluation(values={"query_mode": mode, "mean": mean, "videos": per_video}, lines=lines)

    def open_frames(self, video: Video, folder: Path) -> MarkFrames:
        return point_frames(video, folder)

    def _queries(self, video: Video) -> PointRun:
        return PointRun.of_queries(_track_video(video), self.query_mode)


def _score_run(run: PointRun, truth: Tracks, size: tuple[int, int]) -> PointScore:
    return PointScore.of(run.result, truth, size)


def _track_video(video: Video) -> TrackVideo:
    if not isinstance(video, TrackVideo):
        raise LabelError(f"video {video.name!r} has no tracks")
    return video
