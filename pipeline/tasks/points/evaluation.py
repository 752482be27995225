"""Points of TAP-Vid: its measures, without a file in between."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ....store.errors import LabelError
from ...datasets.point_queries import QueryMode, Tracks
from ...datasets.tapvid import TrackVideo
from ...datasets.video import Video
from ..base import EvalCase, Labels, ScoreRow
from ..following import Points as FollowedPoints
from ..following_evaluation import follow
from ..metric_specs import POINTS, MetricSpec, Values
from ..tables import mean_values
from ..timing import Seconds, timed
from .results import TrackResult
from .scoring import score_track_result

__all__ = ["PointScore", "Points"]


@dataclass(frozen=True, kw_only=True)
class PointScore:
    """TAP-Vid's measures of a video.

    Attributes
    ----------
    values
        By their official names; None where there is nothing to measure.
    frames
        Number of frames in which any point was scored.
    """

    values: Values
    frames: int
    metric_spec: ClassVar[MetricSpec] = POINTS

    @property
    def rows(self) -> tuple[ScoreRow]:
        """The video by itself."""
        return (ScoreRow(frames=self.frames, values=self.values),)

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return {"tapvid": dict(self.values), "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PointScore":
        """Build it from what `to_json` gave."""
        found = {name: value["tapvid"][name] for name in POINTS.columns}
        values = {name: None if item is None else float(item) for name, item in found.items()}
        return cls(values=values, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[PointScore]") -> Values:
        """Return the means over videos; those without a value are left out."""
        known = [
            {name: math.nan if value is None else value for name, value in score.values.items()} for score in scores
        ]
        return {name: _known(value) for name, value in mean_values(known).items()}


@dataclass(frozen=True, kw_only=True)
class _PointGrader:
    """What labels are held against: the true tracks, and the (height, width) of the frames that they are of."""

    points: FollowedPoints
    mode: QueryMode
    truth: Tracks
    size: tuple[int, int]

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> list[PointScore]:
        """Follow the points of each query frame, and score them; see `Evaluator`."""
        found = follow(self.points, labels, count, frame_size, seconds)
        with timed(seconds, "metrics"):
            return [self._score(one.result) for one in found]

    def _score(self, result: TrackResult) -> PointScore:
        score = score_track_result(result, self.mode, self.truth, self.size)
        frames, asked = np.arange(len(result.frames)), result.query_frames[:, None]
        scored = frames > asked if self.mode == "first" else frames != asked
        return PointScore(
            values={name: _known(score.values[name]) for name in POINTS.columns}, frames=int(scored.any(0).sum())
        )


@dataclass(frozen=True, kw_only=True)
class Points:
    """TAP-Vid.

    Attributes
    ----------
    mode
        Which points are given, and in which frames.
    """

    mode: QueryMode = "first"

    @property
    def metric_spec(self) -> MetricSpec:
        """TAP-Vid's measures."""
        return POINTS

    @property
    def options(self) -> Mapping[str, str]:
        """How points are queried."""
        return {"query_mode": self.mode}

    def annotated(self, video: Video) -> tuple[tuple[int, ...], ...]:
        """Return the frames in which points are queried, each by itself."""
        return tuple(frames for frames, _ in self.grade(video).targets)

    def lacks(self, video: Video) -> str | None:
        """Say that there is no frame but one."""
        return None if len(video.frames) > 1 else "has no frame but one, in which points are given"

    def grade(self, video: Video) -> EvalCase:
        """Read the true tracks of a video; see `Kind`."""
        if not isinstance(video, TrackVideo):
            raise LabelError(f"video {video.name!r} has no tracks")
        points = FollowedPoints(video, self.mode)
        size = video.frames.size
        truth = video.tracks.read(video.frames.names, size)
        digest = hashlib.sha256(f"{self.mode} {truth.places.shape} {size} ".encode())
        digest.update(truth.places.tobytes() + truth.occluded.tobytes())
        return EvalCase(
            targets=tuple(points.targets),
            grader=_PointGrader(points=points, mode=self.mode, truth=truth, size=size),
            key={"truth": digest.hexdigest(), "metrics": "tapvid"},
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
