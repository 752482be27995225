"""Scores: the names of a task's metrics, the score of a video, and how soft labels are scored without files."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch

from .running import AnnotatedTarget, TaskRun
from .timing import Seconds, timed

#: Frames and their soft labels (channel, y, x), one label per setting. Frames come in the order of propagation: the
#: first annotated frame, those after it, those before it. The first annotated frame's label is the same everywhere.
Labels = Iterable[tuple[int, Sequence[torch.Tensor]]]

#: Values by column; None for a metric that was not measured.
Values = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One metric: its column in the tables of a sweep, its title in texts and pictures, its name in ``ted evaluate``.

    The official name is the title by default.
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


def official(spec: MetricSpec, values: Values) -> dict[str, float]:
    """Return values by official name; NaN for None."""
    return {title: math.nan if (value := values[column]) is None else value for column, title in spec.official.items()}


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One row of a sweep's tables: values by column for an object of a video, or for the whole video (None)."""

    object_id: int | None = None
    frames: int
    values: Values


class Score(ABC):
    """Scores of one video, detailed enough to be averaged over videos. Subclasses are dataclasses.

    Attributes
    ----------
    metric_spec
        Names and order of the metrics.
    json_key
        Key that identifies the value of `to_json`, unique among tasks; empty if `to_json` returns a list.
    frames
        Number of scored frames.
    """

    metric_spec: ClassVar[MetricSpec]
    json_key: ClassVar[str]
    frames: int

    @property
    def rows(self) -> Sequence[ScoreRow]:
        """Rows of the sweep's tables: by default one for the video."""
        return (ScoreRow(frames=self.frames, values=self.means([self])),)

    @abstractmethod
    def to_json(self) -> Any:
        """Return the score as JSON values, None for NaN."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: Any) -> Self:
        """Build a score from the value of `to_json`; raises TypeError, KeyError or ValueError for another value."""

    @classmethod
    @abstractmethod
    def means(cls, scores: Sequence[Self]) -> Values:
        """Return the scores of several videos together, at least one, as ``ted evaluate`` computes them."""


class Evaluator(Protocol):
    """Scores soft labels against a video's ground truth, without files. Workers receive it pickled."""

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> Sequence[Score]:
        """Score the soft labels of several settings: one score each, with the numbers of result files.

        Parameters
        ----------
        labels
            Labels of each target.
        count
            Number of settings.
        frame_size
            (height, width) of the frames that the features were computed from.
        seconds
            Receives the time spent on ``decoding`` and ``metrics``.

        Raises
        ------
        ConfigError, LabelError
            For ground truth that cannot be used.
        """


@dataclass(frozen=True, kw_only=True)
class EvalCase:
    """A video's targets, and the evaluator of their labels.

    Attributes
    ----------
    targets
        Each is propagated on its own.
    evaluator
        Scores the labels.
    key
        Inputs of scores beside features and settings, JSON-compatible: digests of annotations and ground truth, names
        of metrics.
    """

    targets: Sequence[AnnotatedTarget]
    evaluator: Evaluator
    key: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ResultEvaluator:
    """Collects the whole result of each setting in memory, then scores it.

    Attributes
    ----------
    run
        The video's run, with nothing collected yet.
    score_run
        Scores a run that has collected all frames; picklable.
    """

    run: TaskRun
    score_run: Callable[[Any], Score]

    def score(self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds) -> list[Score]:
        """Score the labels of several settings; see `Evaluator`."""
        runs = [copy.deepcopy(self.run) for _ in range(count)]
        for number, ((annotated, target), of_target) in enumerate(zip(self.run.targets, labels, strict=True)):
            for frame, of_settings in of_target:
                if frame < annotated[0] and not self.run.backward:
                    break  # these frames come last
                with timed(seconds, "decoding"):
                    for run, label in zip(runs, of_settings, strict=True):
                        run.collect(number, frame, target.decode(frame, label, frame_size), label)
        with timed(seconds, "metrics"):
            return [self.score_run(run) for run in runs]
