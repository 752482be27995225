"""J and F of the objects of a video, and the tables of DAVIS-2017."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from ...metrics.jf import Statistics
from ..scoring import Measure, MetricSpec, Score, ScoreRow, Values, official
from ..tables import write_csv

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
    """Scores of one object, by its number in the masks, over its scored frames.

    `f` is None where F was not measured. `j_frames` and `f_frames` are the values of the frames, in [0, 1], and `names`
    the frames' names if they differ between objects; sweeps have neither.
    """

    object_id: int
    frames: int
    j: Statistics
    f: Statistics | None
    j_frames: tuple[float, ...] = ()
    f_frames: tuple[float, ...] = ()
    names: tuple[str, ...] | None = None

    @property
    def columns(self) -> dict[str, float | None]:
        """Values by column of the metric spec; None for a metric that was not measured."""
        table: dict[str, float | None] = {"jf": None if self.f is None else (self.j.mean + self.f.mean) / 2}
        for name, part in (("j", self.j), ("f", self.f)):
            table[name] = part.mean if part else None
            table[f"{name}_recall"] = part.recall if part else None
            table[f"{name}_decay"] = part.decay if part else None
        return table

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values, None for NaN."""
        values: dict[str, Any] = {"object_id": self.object_id, "frames": self.frames}
        for name, part in (("j", self.j), ("f", self.f)):
            values[name] = part and asdict(part) | {"decay": None if math.isnan(part.decay) else part.decay}
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
class MaskScore(Score):
    """Scores of the objects of a video, by rising number; `names` are the scored frames, which sweeps do not have."""

    objects: tuple[ObjectScore, ...]
    names: tuple[str, ...] = ()
    metric_spec: ClassVar[MetricSpec] = MASKS
    json_key: ClassVar[str] = ""

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """One row for each object."""
        return tuple(
            ScoreRow(object_id=item.object_id, frames=item.frames, values=item.columns) for item in self.objects
        )

    def to_json(self) -> list[dict[str, Any]]:
        return [item.to_json() for item in self.objects]

    @classmethod
    def from_json(cls, value: list[Mapping[str, Any]]) -> "MaskScore":
        return cls(objects=tuple(map(ObjectScore.from_json, value)))

    @classmethod
    def means(cls, scores: "Sequence[MaskScore]") -> Values:
        """Return means over all objects of all videos (not over videos), as the official evaluation has them."""
        return means_of_objects([item.columns for score in scores for item in score.objects])


def means_of_objects(rows: Sequence[Values]) -> Values:
    """Return means over objects; None for a metric that was not measured for every object."""
    means: dict[str, float | None] = {}
    for name in MASKS.columns[1:]:
        known = [value for row in rows if (value := row[name]) is not None]
        means[name] = fmean(known) if len(known) == len(rows) else None
    j, f = means["j"], means["f"]
    return {"jf": None if j is None or f is None else (j + f) / 2} | means


def write_tables(scores: Mapping[str, MaskScore], folder: Path, set_name: str) -> tuple[Path, Path]:
    """Write the tables that the official evaluation writes, byte for byte; make the folder if it is absent.

    Scores are by name of the video. Returns ``global_results-<set>.csv`` and ``per-sequence_results-<set>.csv``.
    """
    overall, per_object = folder / f"global_results-{set_name}.csv", folder / f"per-sequence_results-{set_name}.csv"
    means = official(MASKS, MaskScore.means(list(scores.values())))
    write_csv(overall, means, [means.values()])
    write_csv(per_object, ["Sequence", "J-Mean", "F-Mean"], object_rows(scores))
    return overall, per_object


def object_rows(scores: Mapping[str, MaskScore]) -> list[tuple[str, float, float]]:
    """Return the mean J and F of each object, after its name such as ``camel_1``."""
    return [
        (f"{name}_{item.object_id}", item.j.mean, item.f.mean)
        for name, score in scores.items()
        for item in score.objects
        if item.f is not None
    ]


def _statistics(values: Mapping[str, Any]) -> Statistics:
    decay = values["decay"]
    return Statistics(
        mean=float(values["mean"]), recall=float(values["recall"]), decay=math.nan if decay is None else float(decay)
    )
