"""Points: their files, ``tracks.npz`` and ``tracks.csv``, and their score, TAP-Vid's metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from ...datasets.point_queries import QueryMode, Tracks
from ...metrics.tapvid import THRESHOLDS, score_tracks
from ..archives import ArchiveResult, format_coordinate, format_share
from ..scoring import Measure, MetricSpec, Score, Values
from ..tables import known_value, mean_values

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

#: How the points of a result were chosen: as TAP-Vid's queries, or by a user.
TrackMode = QueryMode | Literal["given"]


@dataclass(frozen=True, kw_only=True)
class TrackResult(ArchiveResult):
    """Points through a video.

    Attributes
    ----------
    mode
        How the points were chosen.
    query_frames, tracks
        (query,), the frame in which each point was first annotated, and its track in the dataset, or its id.
    places
        (query, frame, 2), float64, x and y in pixels of the original frames: pixel i covers [i, i + 1). NaN where the
        point is lost, and in frames before the query's if the mode is ``first``.
    mass
        (query, frame), float64: the remaining label of the point, which began as 1.
    visible
        (query, frame), bool.
    """

    archive = "tracks.npz"
    table = "tracks.csv"
    header = ("frame", "point", "track", "x", "y", "visible", "mass", "confidence")

    mode: TrackMode
    query_frames: npt.NDArray[np.integer]
    tracks: npt.NDArray[np.integer]
    places: npt.NDArray[np.float64]
    mass: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]

    @classmethod
    def from_array(cls, name: str, array: npt.NDArray[Any]) -> Any:
        if name == "mode":
            return next((mode for mode in (*get_args(QueryMode), "given") if mode == str(array)), "strided")
        return super().from_array(name, array)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shape = len(self.query_frames), len(self.frames)
        return {"places": (*shape, 2), "visible": shape, "confidence": shape}

    def rows(self) -> Iterator[Sequence[Any]]:
        """Yield a row for each frame and query; unknown coordinates are empty, and ``visible`` is 0 or 1."""
        for frame, name in enumerate(self.frames):
            for query, track in enumerate(self.tracks.tolist()):
                xy = map(format_coordinate, self.places[query, frame])
                shares = map(format_share, (self.mass[query, frame], self.confidence_of(query, frame)))
                yield name, query, track, *xy, int(self.visible[query, frame]), *shares


@dataclass(frozen=True, kw_only=True)
class PointScore(Score):
    """TAP-Vid's metrics of a video by official name; None if there is nothing to measure.

    `frames` is the number of frames in which any point was scored. `mode` is empty for a score that was read back.
    """

    values: Values
    frames: int
    mode: str = field(default="", compare=False)
    metric_spec: ClassVar[MetricSpec] = POINTS
    json_key: ClassVar[str] = "tapvid"

    def to_json(self) -> dict[str, Any]:
        return {"tapvid": dict(self.values), "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PointScore":
        found = {name: value["tapvid"][name] for name in POINTS.columns}
        values = {name: None if item is None else float(item) for name, item in found.items()}
        return cls(values=values, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[PointScore]") -> Values:
        """Return the means over the videos that have a value."""
        return mean_values([score.values for score in scores])

    @classmethod
    def of(cls, result: TrackResult, truth: Tracks, size: tuple[int, int]) -> "PointScore":
        """Score queried tracks against true ones through the same frames of (height, width), on a raster of 256x256."""
        assert result.mode != "given"
        scale = np.array([_RASTER / size[1], _RASTER / size[0]])
        score = score_tracks(
            result.query_frames,
            truth.xy[result.tracks] * scale,
            truth.occluded[result.tracks],
            result.places * scale,
            ~result.visible,
            result.mode,
        )
        frames, queried = np.arange(len(result.frames)), result.query_frames[:, None]
        scored = frames > queried if result.mode == "first" else frames != queried
        values = {name: known_value(score[name]) for name in POINTS.columns}
        return cls(values=values, frames=int(scored.any(0).sum()), mode=result.mode)
