"""J and F of the objects of one video under one setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...metrics.jf import Statistics, statistics
from ..base import ScoreRow
from ..metric_specs import Measure, MetricSpec, Values
from .truth import SequenceTruth

__all__ = ["MASKS", "MaskScore", "ObjectScore", "columns", "means_of_objects", "summarize"]

#: Metrics of masks: ranked by J&F, or by J if F is not measured.
MASKS = MetricSpec(
    measures=(
        Measure(column="jf", title="J&F", official="J&F-Mean"),
        Measure(column="j", title="J", official="J-Mean"),
        Measure(column="j_recall", title="J-Recall"),
        Measure(column="j_decay", title="J-Decay"),
        Measure(column="f", title="F", official="F-Mean"),
        Measure(column="f_recall", title="F-Recall"),
        Measure(column="f_decay", title="F-Decay"),
    ),
    shown=("jf", "j", "f"),
    order=("jf", "j"),
    of_objects=True,
)


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """Scores of one object.

    Attributes
    ----------
    object_id
        Number of the object in the masks.
    frames
        Number of scored frames.
    j, f
        Statistics over these frames; f is None where F was not measured.
    """

    object_id: int
    frames: int
    j: Statistics
    f: Statistics | None

    @property
    def columns(self) -> dict[str, float | None]:
        """Values by column of the metric spec."""
        return columns(self.j, self.f)

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values, None for NaN."""
        values = asdict(self)
        for part in (values["j"], values["f"]):
            if part is not None and math.isnan(part["decay"]):
                part["decay"] = None
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ObjectScore":
        """Build scores from the value of `to_json`; raises TypeError or KeyError for another value."""
        return cls(
            object_id=int(values["object_id"]),
            frames=int(values["frames"]),
            j=_statistics(values["j"]),
            f=None if values["f"] is None else _statistics(values["f"]),
        )


@dataclass(frozen=True, kw_only=True)
class MaskScore:
    """Scores of the objects of a video.

    Attributes
    ----------
    objects
        The objects in the order of their numbers.
    """

    objects: tuple[ObjectScore, ...]
    metric_spec: ClassVar[MetricSpec] = MASKS
    json_key: ClassVar[str] = ""

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """One row for each object."""
        return tuple(
            ScoreRow(object_id=item.object_id, frames=item.frames, values=item.columns) for item in self.objects
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Return the objects as JSON values."""
        return [item.to_json() for item in self.objects]

    @classmethod
    def from_json(cls, value: list[Mapping[str, Any]]) -> "MaskScore":
        """Build scores from the value of `to_json`."""
        return cls(objects=tuple(map(ObjectScore.from_json, value)))

    @classmethod
    def means(cls, scores: "Sequence[MaskScore]") -> Values:
        """Return means over all objects of all videos (not over videos), as the official evaluation has them."""
        return means_of_objects([item.columns for score in scores for item in score.objects])


def columns(j: Statistics, f: Statistics | None) -> dict[str, float | None]:
    """Return values by column of the metric spec; None for a metric that was not measured."""
    table: dict[str, float | None] = {"jf": None if f is None else (j.mean + f.mean) / 2}
    for name, part in (("j", j), ("f", f)):
        table[name] = part.mean if part else None
        table[f"{name}_recall"] = part.recall if part else None
        table[f"{name}_decay"] = part.decay if part else None
    return table


def means_of_objects(rows: Sequence[Values]) -> Values:
    """Return means over objects; None for a metric that was not measured for every object."""
    means: dict[str, float | None] = {}
    for name in MASKS.columns[1:]:
        known = [value for row in rows if (value := row[name]) is not None]
        means[name] = fmean(known) if len(known) == len(rows) else None
    j, f = means["j"], means["f"]
    return {"jf": None if j is None or f is None else (j + f) / 2} | means


def summarize(truth: SequenceTruth, j: NDArray[np.float64], f: NDArray[np.float64] | None) -> MaskScore:
    """Return statistics of each object over its scored frames; `j` and `f` are (object, frame)."""
    objects = (
        ObjectScore(
            object_id=number,
            frames=int(scored.sum()),
            j=statistics(j[row, scored]),
            f=None if f is None else statistics(f[row, scored]),
        )
        for row, (number, scored) in enumerate(zip(truth.object_ids, truth.scored, strict=True))
    )
    return MaskScore(objects=tuple(objects))


def _statistics(values: Mapping[str, Any]) -> Statistics:
    decay = values["decay"]
    return Statistics(
        mean=float(values["mean"]), recall=float(values["recall"]), decay=math.nan if decay is None else float(decay)
    )
