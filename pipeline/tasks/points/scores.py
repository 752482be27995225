"""Scores of points: TAP-Vid's metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...datasets.point_queries import QueryMode, Tracks
from ...metrics.tapvid import THRESHOLDS, TapVidScore, score_tracks
from ..base import ScoreRow
from ..metric_specs import Measure, MetricSpec, Values
from ..tables import known_value, mean_values
from .results import TrackResult

__all__ = ["POINTS", "PointScore", "score_track_result"]

# TAP-Vid measures on frames of this size, whatever the size of the video.
_RASTER = 256

#: Metrics of points, in [0, 1]: ranked by AJ, then by delta_avg; the columns have TAP-Vid's names.
POINTS = MetricSpec(
    measures=(
        Measure(column="average_jaccard", title="AJ"),
        Measure(column="average_pts_within_thresh", title="<delta_avg"),
        Measure(column="occlusion_accuracy", title="OA"),
        *(Measure(column=f"pts_within_{limit}", title=f"pts_within_{limit}") for limit in THRESHOLDS),
        *(Measure(column=f"jaccard_{limit}", title=f"jaccard_{limit}") for limit in THRESHOLDS),
    ),
    shown=("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy"),
    order=("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy"),
)


@dataclass(frozen=True, kw_only=True)
class PointScore:
    """TAP-Vid's metrics of a video.

    Attributes
    ----------
    values
        Values by official name; None if there is nothing to measure.
    frames
        Number of frames in which any point was scored.
    """

    values: Values
    frames: int
    metric_spec: ClassVar[MetricSpec] = POINTS
    json_key: ClassVar[str] = "tapvid"

    @property
    def rows(self) -> tuple[ScoreRow]:
        """One row for the video."""
        return (ScoreRow(frames=self.frames, values=self.values),)

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return {"tapvid": dict(self.values), "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PointScore":
        """Build a score from the value of `to_json`."""
        found = {name: value["tapvid"][name] for name in POINTS.columns}
        values = {name: None if item is None else float(item) for name, item in found.items()}
        return cls(values=values, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[PointScore]") -> Values:
        """Return the means over the videos that have a value."""
        known = [
            {name: math.nan if value is None else value for name, value in score.values.items()} for score in scores
        ]
        return {name: known_value(value) for name, value in mean_values(known).items()}

    @classmethod
    def of(cls, result: TrackResult, mode: QueryMode, truth: Tracks, size: tuple[int, int]) -> "PointScore":
        """Score a result; see `score_track_result`."""
        score = score_track_result(result, mode, truth, size)
        frames, queried = np.arange(len(result.frames)), result.query_frames[:, None]
        scored = frames > queried if mode == "first" else frames != queried
        return cls(
            values={name: known_value(score.values[name]) for name in POINTS.columns}, frames=int(scored.any(0).sum())
        )


def score_track_result(result: TrackResult, mode: QueryMode, truth: Tracks, size: tuple[int, int]) -> TapVidScore:
    """Score queried tracks against true ones, on a raster of 256x256.

    Parameters
    ----------
    result
        The tracks.
    mode
        How they were queried.
    truth
        True tracks through the same frames.
    size
        (height, width) of the frames.
    """
    scale = np.array([_RASTER / size[1], _RASTER / size[0]])
    return score_tracks(
        result.query_frames,
        truth.xy[result.tracks] * scale,
        truth.occluded[result.tracks],
        result.places * scale,
        ~result.visible,
        mode,
    )
