"""What is measured of each kind of video, what it is called, and by what settings are ranked."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..metrics.pck import PCK_THRESHOLDS
from ..metrics.tapvid import THRESHOLDS

__all__ = [
    "BOXES",
    "JOINTS",
    "MASKS",
    "METRIC_SPECS",
    "PARTS",
    "POINTS",
    "Measure",
    "MetricSpec",
    "Values",
    "metric_spec_of",
]

#: Measures by their columns; None for what was not measured.
Values = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure.

    Attributes
    ----------
    column
        Its name in the tables of a sweep.
    title
        What it is called in texts and pictures.
    official
        Its name in the tables of ``ted evaluate``; the title by default.
    """

    column: str
    title: str
    official: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "official", self.official or self.title)


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """What is measured of a kind of video.

    Attributes
    ----------
    measures
        All measures, in the order of tables.
    shown
        Columns of those that texts and pictures show.
    order
        Columns of those that rank settings, the larger the better: the first that was measured decides, and between
        equals the next.
    of_objects
        Whether each object of a video has values of its own.
    perfect
        The value that nothing exceeds: 1 of shares, 100 of percent.
    """

    measures: tuple[Measure, ...]
    shown: tuple[str, ...]
    order: tuple[str, ...]
    of_objects: bool = False
    perfect: float = 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all measures in the tables of a sweep."""
        return tuple(measure.column for measure in self.measures)

    @property
    def official(self) -> dict[str, str]:
        """The names of ``ted evaluate`` by column."""
        return {measure.column: measure.official for measure in self.measures}

    def titles(self, values: Values) -> dict[str, str]:
        """Return the titles, by column, of those shown that have a value."""
        titles = {measure.column: measure.title for measure in self.measures}
        return {column: titles[column] for column in self.shown if values[column] is not None}

    def ranked_by(self, values: Values) -> str:
        """Return the title of what decides between values like these; of the first, where none was measured."""
        titles = {measure.column: measure.title for measure in self.measures}
        return titles[next((column for column in self.order if values[column] is not None), self.order[0])]

    def score(self, values: Values) -> float:
        """Return what decides; NaN where none was measured."""
        known = (values[column] for column in self.order)
        return next((value for value in known if value is not None), math.nan)

    def rank(self, values: Values) -> tuple[float, ...]:
        """Return what settings are sorted by: what has no value comes last."""
        known = (values[column] for column in self.order)
        return tuple(-math.inf if value is None or math.isnan(value) else value for value in known)


#: Masks of objects, by J&F; by J where F is not measured.
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

#: Parts of people, as classes, by the mean IoU.
PARTS = MetricSpec(measures=(Measure(column="miou", title="mIoU"),), shown=("miou",), order=("miou",))

#: Joints, in percent, by PCK@0.2, and between equals by PCK@0.1: a tenth of a person is about a cell of the grid, so
#: that PCK@0.1 measures how places are read off it as much as where labels go.
JOINTS = MetricSpec(
    measures=(
        *(Measure(column=f"pck_{threshold}", title=f"PCK@{threshold}") for threshold in PCK_THRESHOLDS),
        Measure(column="found", title="found"),
    ),
    shown=("pck_0.2", "pck_0.1", "found"),
    order=("pck_0.2", "pck_0.1"),
    perfect=100.0,
)

#: Points, in [0, 1], by AJ, and between equals by delta_avg; the columns have TAP-Vid's own names.
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

#: Boxes around objects, in [0, 1], by the mean IoU, and between equals by success: the area under the curve.
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


#: All of them. What is measured in several ways is compared by the first.
METRIC_SPECS = (MASKS, PARTS, JOINTS, POINTS, BOXES)


def metric_spec_of(columns: Collection[str]) -> MetricSpec | None:
    """Return the metric_spec that a table of a sweep with these columns is of; None if it is of none."""
    return next((found for found in METRIC_SPECS if set(found.columns) <= set(columns)), None)
