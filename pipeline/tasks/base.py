"""The interface of tasks: what is tracked through a video, and how it is annotated, written, scored and drawn."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from ...propagate import Target
from ...store.errors import ConfigError
from ..datasets.video import Video
from .metric_specs import MetricSpec, Values
from .tables import Table, as_number, last_row, read_table, text_table, write_table
from .timing import Seconds

__all__ = [
    "AnnotatedTarget",
    "EvalCase",
    "Evaluation",
    "EvaluationTables",
    "Evaluator",
    "Labels",
    "ResultFrames",
    "Score",
    "ScoreRow",
    "Task",
    "TaskRun",
]

#: Frames and their soft labels (channel, y, x), one label per setting. Frames come in the order of propagation: the
#: first annotated frame, those after it, those before it. The first annotated frame's label is the same everywhere.
Labels = Iterable[tuple[int, Sequence[torch.Tensor]]]


class AnnotatedTarget(NamedTuple):
    """A target that is propagated in one pass.

    Attributes
    ----------
    frames
        Indices of its annotated frames, rising.
    target
        Encodes the annotations, and decodes soft labels.
    """

    frames: tuple[int, ...]
    target: Target[Any]


class TaskRun(ABC):
    """One video's targets; collects what they decode, and writes the result.

    Attributes
    ----------
    targets
        Each is propagated on its own.
    backward
        Whether targets are propagated to the frames before their first annotation, too.
    record
        Description of the annotations that the result depends on, JSON-compatible: part of ``ted.json``.
    files
        Names of the files that a complete result has.
    """

    targets: Sequence[AnnotatedTarget]
    backward: bool = True
    record: Mapping[str, Any]
    files: Sequence[str] = ()

    def begin(self, folder: Path, grid: tuple[int, int], frame_size: tuple[int, int]) -> None:  # noqa: B027
        """Prepare for `collect`; by default there is nothing to do.

        Parameters
        ----------
        folder
            Where the result will be written.
        grid
            Size of the feature grid, (y, x).
        frame_size
            (height, width) of the frames that the features were computed from.
        """

    @abstractmethod
    def collect(self, number: int, frame: int, value: Any, label: torch.Tensor) -> None:
        """Take a decoded value.

        Parameters
        ----------
        number
            Index of the target.
        frame
            Index of the frame.
        value
            The decoded value.
        label
            The soft label that it was decoded from, (channel, y, x).
        """

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the collected values, unless `collect` has written them."""


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One row of a sweep's tables: the scores of an object of a video, or of the whole video.

    Attributes
    ----------
    object_id
        The object; None for the video.
    frames
        Number of scored frames.
    values
        Values by column of the metric spec.
    """

    object_id: int | None = None
    frames: int
    values: Values


class Score(Protocol):
    """Scores of one video under one setting, detailed enough to be averaged over videos.

    Attributes
    ----------
    metric_spec
        Names and order of the metrics.
    json_key
        Key that identifies the value of `to_json`, unique among tasks; empty if `to_json` returns a list.
    """

    metric_spec: ClassVar[MetricSpec]
    json_key: ClassVar[str]

    @property
    def rows(self) -> Sequence[ScoreRow]:
        """Rows of the sweep's tables."""

    def to_json(self) -> Any:
        """Return the score as JSON values, None for NaN."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Build a score from the value of `to_json`; raises TypeError, KeyError or ValueError for another value."""

    @classmethod
    def means(cls, scores: Sequence[Self]) -> Values:
        """Return the scores of several videos together, at least one, as ``ted evaluate`` computes them."""


class Evaluator(Protocol):
    """Scores soft labels against a video's ground truth, without files. Workers receive it pickled."""

    def score(
        self, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
    ) -> Sequence[Score]:
        """Score the soft labels of several settings. The numbers equal those of result files.

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

        Returns
        -------
        sequence of Score
            One score for each setting.

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
class Evaluation:
    """Scores of a folder of results.

    Attributes
    ----------
    values
        Output of ``ted evaluate --json``.
    lines
        Output of ``ted evaluate`` without ``--json``.
    """

    values: dict[str, Any]
    lines: list[str]


@dataclass(frozen=True, kw_only=True)
class EvaluationTables:
    """The tables that an evaluation wrote, read back for a report.

    Attributes
    ----------
    metric_spec
        The metrics.
    name
        Name of the set of videos, or the query mode of points; empty if the tables do not say.
    means
        Texts of the tables by official name, in the units of sweeps; empty text for NaN.
    objects
        Texts by ``J-Mean`` and ``F-Mean``, by name of the object (``camel_1``); only for masks.
    by_video
        The metric that ranks, by video, averaged over objects if objects are scored; None for NaN.
    tables
        The tables themselves.
    """

    metric_spec: MetricSpec
    name: str
    means: Mapping[str, str]
    by_video: Mapping[str, float | None]
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tables: tuple[Table, ...]


class ResultFrames(ABC):
    """A video's results, frame by frame, to be drawn and, with ground truth, scored.

    Attributes
    ----------
    noun
        Noun for the results, in the plural.
    metric
        Name of the metric that `score` returns.
    has_truth
        Whether `draw_truth` draws anything.
    """

    noun: str
    metric: str = ""
    has_truth: bool = False

    @property
    @abstractmethod
    def frames(self) -> Sequence[str]:
        """Names of the frames with a result."""

    @abstractmethod
    def draw(self, picture: npt.NDArray[np.uint8], frame: str) -> npt.NDArray[np.uint8] | None:
        """Draw a frame's result over a picture of it.

        Parameters
        ----------
        picture
            (height, width, 3), RGB: the frame at any size.
        frame
            Name of the frame.

        Returns
        -------
        numpy.ndarray or None
            A new picture; None for a frame without a result.
        """

    def draw_truth(self, picture: npt.NDArray[np.uint8], frame: str) -> npt.NDArray[np.uint8] | None:
        """Draw a frame's ground truth over a picture of it; None where there is none. See `draw`."""
        return None

    def legend(self, frames: Sequence[str], *, truth: bool = False) -> Mapping[int, str]:
        """Return the meaning of the colours in some frames, by index of the palette.

        With `truth`, include colours that only the ground truth shows.
        """
        return {}

    @property
    def ranked(self) -> Sequence[str]:
        """Names of the frames that a report may call the best or the worst."""
        return ()

    def score(self, frame: str) -> float | None:
        """Return the score of a frame, the larger the better; None where there is nothing to score."""
        return None


class Task(ABC):
    """A task: what is tracked.

    A subclass is a frozen dataclass. Its fields are its options, named like options of the command line
    (``query_mode``); all need defaults. Tasks are found by their class attributes:

    Attributes
    ----------
    name
        Name of the task, for ``--target`` and `Video.tasks`.
    noun
        Noun for the results, in the plural: the name of the command of ``ted show``; by default the task's name. Tasks
        may share one.
    metric_spec
        The metrics.
    score_type
        Class of the scores.
    tables
        Glob patterns of the tables that `evaluation` writes: the table with the means, and a second one or None. ``*``
        stands for the name of the set. By default one table, ``<name>_results-*``.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    metric_spec: ClassVar[MetricSpec]
    score_type: ClassVar[type[Score]]
    tables: ClassVar[tuple[str, str | None]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Set the defaults of the class attributes."""
        super().__init_subclass__(**arguments)
        if "name" in cls.__dict__:
            cls.noun = cls.__dict__.get("noun", cls.name)
            cls.tables = cls.__dict__.get("tables", (f"{cls.name}_results-*", None))

    def accepts(self, video: Video) -> bool:
        """Return whether the task can track something in a video."""
        return self.name in video.tasks

    @classmethod
    def reads(cls, annotations: Path) -> bool:
        """Return whether a path given as ``--annotations`` is in the task's own format.

        The video then has the path as `Video.annotation_file`.
        """
        return False

    def used_options(self, video: Video) -> dict[str, Any]:
        """Return the options that a result of this video depends on, by the names of the command line."""
        return {}

    @abstractmethod
    def start(self, video: Video) -> TaskRun:
        """Read a video's annotations.

        Raises
        ------
        LabelError
            When they cannot be read, or do not fit the video.
        """

    def annotated_frames(self, video: Video) -> Sequence[tuple[int, ...]]:
        """Return the indices of each target's annotated frames; reads no ground truth."""
        return [frames for frames, _ in self.start(video).targets]

    def missing_truth(self, video: Video) -> str | None:
        """Return what ground truth a video lacks, judged by file names, as "has no …"; None if nothing is missing."""
        return None

    def eval_case(self, video: Video) -> EvalCase:
        """Read a video's annotations and its ground truth, for scoring in memory.

        Raises
        ------
        ConfigError
            When there is too little ground truth, or the task has no metric.
        LabelError
            For annotations or ground truth that cannot be used.
        """
        raise ConfigError(f"{self.name} of video {video.name!r} have no metric")

    @abstractmethod
    def has_results(self, folder: Path) -> bool:
        """Return whether a video's folder of results holds results of this task."""

    def score_video(self, video: Video, folder: Path) -> Any:
        """Score a video's folder of results: the value that `evaluation` takes, by default a `Score`.

        Raises
        ------
        ConfigError
            When there is too little ground truth, or no metric. Other videos are still scored.
        LabelError
            When the result or the truth cannot be read, or they do not fit each other.
        """
        raise ConfigError(f"{self.name} of video {video.name!r} have no metric")

    def evaluation(self, scores: Mapping[str, Any], results: Path, set_name: str) -> Evaluation:
        """Summarise scores, and write tables.

        By default, a table of the metrics of each video, and of all together, with four decimals.

        Parameters
        ----------
        scores
            Values of `score_video` by name of the video, at least one.
        results
            Folder of results, to which tables are written.
        set_name
            Name of the set of videos: part of the names of the tables.
        """
        mean = self.score_type.means(list(scores.values()))
        rows = {name: self._official(self.score_type.means([score])) for name, score in scores.items()}
        every = {**rows, "mean": self._official(mean)}
        titles = list(self.metric_spec.official.values())
        cells = {name: list(row.values()) for name, row in every.items()}
        path = write_table(results / f"{self.tables[0].replace('*', set_name)}.csv", ["Video", *titles], cells)
        lines = [*text_table(["video", *titles], cells.items()), f"table: {path}"]
        return Evaluation(values={"mean": every["mean"], "videos": rows}, lines=lines)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read tables that `evaluation` wrote, for a report.

        Parameters
        ----------
        name
            The text that ``*`` stands for in `tables`.
        path, other
            The table with the means, and the second one if it exists.

        Raises
        ------
        ConfigError
            For tables that cannot be read, or hold something else.
        """
        titles = list(self.metric_spec.official.values())
        table = read_table(path, ["Video", *titles])
        total = last_row(path, table, "mean")
        ranked = self.metric_spec.official[self.metric_spec.order[0]]
        return EvaluationTables(
            metric_spec=self.metric_spec,
            name=name,
            means={title: total[title] for title in titles},
            by_video={row["Video"]: as_number(row[ranked]) for row in table.records[:-1]},
            tables=(table,),
        )

    def _official(self, values: Values) -> dict[str, float]:
        return {
            title: math.nan if (value := values[column]) is None else value
            for column, title in self.metric_spec.official.items()
        }

    @abstractmethod
    def open_frames(self, video: Video, folder: Path) -> ResultFrames:
        """Open a video's folder of results, for drawing.

        Raises
        ------
        LabelError
            For results or ground truth that cannot be read, or do not fit each other.
        """
