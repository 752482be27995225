"""Scores of boxes: overlap, success and precision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...metrics.boxes import BoxScore
from ..base import ScoreRow
from ..metric_specs import Measure, MetricSpec, Values
from ..tables import known_value, mean_values
from .results import BoxResult

__all__ = ["BOXES", "BoxesScore", "score_box_result"]

#: Metrics of boxes, in [0, 1]: ranked by the mean IoU, then by success, the area under the curve.
BOXES = MetricSpec(
    measures=(
        Measure(column="iou", title="IoU"),
        Measure(column="success", title="success", official="Success"),
        Measure(column="precision", title="precision", official="Precision"),
        Measure(column="found", title="found", official="Found"),
    ),
    shown=("iou", "success", "precision"),
    order=("iou", "success"),
)


@dataclass(frozen=True, kw_only=True)
class BoxesScore:
    """Metrics of the boxes of a video.

    Attributes
    ----------
    objects
        Values of each object, by column of the metric spec; None if no frame counts.
    frames
        Number of frames in which any object was scored.
    """

    objects: tuple[Values, ...]
    frames: int
    metric_spec: ClassVar[MetricSpec] = BOXES
    json_key: ClassVar[str] = "boxes"

    @property
    def rows(self) -> tuple[ScoreRow]:
        """One row for the video: the means over its objects."""
        return (ScoreRow(frames=self.frames, values=self.means([self])),)

    def to_json(self) -> dict[str, Any]:
        """Return the values of each object by name."""
        return {"boxes": [dict(values) for values in self.objects], "frames": self.frames}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BoxesScore":
        """Build a score from the value of `to_json`."""
        found = [{name: row[name] for name in BOXES.columns} for row in value["boxes"]]
        objects = tuple(
            {name: None if item is None else float(item) for name, item in values.items()} for values in found
        )
        if not objects:
            raise ValueError("there are no boxes")
        return cls(objects=objects, frames=int(value["frames"]))

    @classmethod
    def means(cls, scores: "Sequence[BoxesScore]") -> Values:
        """Return the means over the objects of all videos (not over videos) that have a value."""
        known = [
            {name: math.nan if value is None else value for name, value in values.items()}
            for score in scores
            for values in score.objects
        ]
        return {name: known_value(value) for name, value in mean_values(known).items()}

    @classmethod
    def of(cls, result: BoxResult, truth: npt.NDArray[np.float64]) -> "BoxesScore":
        """Score a result in the frames that are not annotated; see `score_box_result`."""
        followed = ~result.given
        objects = tuple(
            {name: known_value(getattr(score, name)) for name in BOXES.columns}
            for score in score_box_result(result, truth, followed).values()
        )
        return cls(objects=objects, frames=int((followed & np.isfinite(truth).all(2)).any(0).sum()))


def score_box_result(
    result: BoxResult, truth: npt.NDArray[np.float64], followed: npt.NDArray[np.bool_]
) -> dict[int, BoxScore]:
    """Score the boxes of each object, by its number.

    Parameters
    ----------
    result
        The boxes.
    truth
        (object, frame, 4), true boxes of the same objects; NaN where there is none.
    followed
        (object, frame), bool: the frames in which each object is scored, if it has a true box there.
    """
    return {
        int(number): BoxScore(truth=true[frames], predicted=found[frames])
        for number, true, found, frames in zip(result.ids, truth, result.boxes, followed, strict=True)
    }
