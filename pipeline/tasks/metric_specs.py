"""The names of a task's metrics, and the order in which they rank settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Measure", "MetricSpec", "Values"]

#: Values by column; None for a metric that was not measured.
Values = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The names of one metric.

    Attributes
    ----------
    column
        Name in the tables of a sweep.
    title
        Name in texts and pictures.
    official
        Name in the tables of ``ted evaluate``; the title by default.
    """

    column: str
    title: str
    official: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "official", self.official or self.title)


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """The metrics of a task.

    Attributes
    ----------
    measures
        All metrics, in the order of tables.
    shown
        Columns of the metrics that texts and pictures show.
    order
        Columns of the metrics that rank settings; larger is better. The first measured one decides, the next ones
        break ties.
    of_objects
        Whether each object of a video has its own values.
    perfect
        Upper bound: 1 for shares, 100 for percentages.
    """

    measures: tuple[Measure, ...]
    shown: tuple[str, ...]
    order: tuple[str, ...]
    of_objects: bool = False
    perfect: float = 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all metrics in the tables of a sweep."""
        return tuple(measure.column for measure in self.measures)

    @property
    def official(self) -> dict[str, str]:
        """Names in the tables of ``ted evaluate``, by column."""
        return {measure.column: measure.official for measure in self.measures}

    def titles(self, values: Values) -> dict[str, str]:
        """Return the titles of the shown metrics that have a value, by column."""
        titles = {measure.column: measure.title for measure in self.measures}
        return {column: titles[column] for column in self.shown if values[column] is not None}

    def ranked_by(self, values: Values) -> str:
        """Return the title of the first measured metric in `order`; the first of all if none was measured."""
        titles = {measure.column: measure.title for measure in self.measures}
        return titles[next((column for column in self.order if values[column] is not None), self.order[0])]

    def score(self, values: Values) -> float:
        """Return the value that ranks; NaN if none was measured."""
        known = (values[column] for column in self.order)
        return next((value for value in known if value is not None), math.nan)

    def rank(self, values: Values) -> tuple[float, ...]:
        """Return a sort key, larger for better values; missing values come last."""
        known = (values[column] for column in self.order)
        return tuple(-math.inf if value is None or math.isnan(value) else value for value in known)
