"""The interface of tasks: what is tracked through a video, and how it is annotated, written, scored and drawn.

A task of another package imports all that it needs from here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ...store.errors import ConfigError
from ..datasets.video import Video
from .drawing import DrawnFrames, ResultFrames
from .running import AnnotatedTarget, TaskRun
from .scoring import (
    EvalCase,
    Evaluator,
    Labels,
    Measure,
    MetricSpec,
    ResultEvaluator,
    Score,
    ScoreRow,
    Values,
    official,
)
from .tables import Table, TableLayout, as_number, last_row, read_table, text_table, video_means, write_table

__all__ = [
    "AnnotatedTarget",
    "DrawnFrames",
    "EvalCase",
    "Evaluation",
    "EvaluationTables",
    "Evaluator",
    "Labels",
    "Measure",
    "MetricSpec",
    "ResultEvaluator",
    "ResultFrames",
    "Score",
    "ScoreRow",
    "Task",
    "TaskRun",
    "Values",
]


class Evaluation(NamedTuple):
    """Output of ``ted evaluate`` on a folder of results: with ``--json`` (`values`) and without it (`lines`)."""

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
    layout
        Titles of the table with the means.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    metric_spec: ClassVar[MetricSpec]
    score_type: ClassVar[type[Score]]
    tables: ClassVar[tuple[str, str | None]]
    layout: ClassVar[TableLayout] = TableLayout()

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
        """Read a video's annotations; raises LabelError when they cannot be read, or do not fit the video."""

    def annotated_frames(self, video: Video) -> Sequence[tuple[int, ...]]:
        """Return the indices of each target's annotated frames; reads no ground truth."""
        return [frames for frames, _ in self.start(video).targets]

    def missing_truth(self, video: Video) -> str | None:
        """Return what ground truth a video lacks, judged by file names, as "has no …"; None if nothing is missing."""
        return None

    def eval_case(self, video: Video) -> EvalCase:
        """Read a video's annotations and its ground truth, for scoring in memory; raises as `score_video`."""
        raise ConfigError(f"{self.name} of video {video.name!r} have no metric")

    @abstractmethod
    def has_results(self, folder: Path) -> bool:
        """Return whether a video's folder of results holds results of this task."""

    def score_video(self, video: Video, folder: Path) -> Any:
        """Score a video's folder of results.

        Raises
        ------
        ConfigError
            When there is too little ground truth, or no metric. Other videos are still scored.
        LabelError
            When the result or the truth cannot be read, or they do not fit each other.
        """
        raise ConfigError(f"{self.name} of video {video.name!r} have no metric")

    def evaluation(self, scores: Mapping[str, Any], results: Path, set_name: str) -> Evaluation:
        """Summarise the scores of videos, at least one, and write tables to the folder of results.

        By default, a table of the metrics of each video, and of all together, with four decimals. `set_name` is part of
        the names of the tables.
        """
        mean = official(self.metric_spec, self.score_type.means(list(scores.values())))
        rows = {name: official(self.metric_spec, self.score_type.means([score])) for name, score in scores.items()}
        path, lines = self.write_rows(rows | {self.layout.total: mean}, results, set_name)
        return Evaluation(values={"mean": mean, "videos": rows}, lines=[*lines, f"table: {path}"])

    def write_rows(
        self, rows: Mapping[str, Mapping[str, float]], results: Path, set_name: str, *, digits: int = 3
    ) -> tuple[Path, list[str]]:
        """Write the table with the means, with rows of values by official name; return its path, and it as text."""
        official_names, layout = self.metric_spec.official, self.layout
        cells = {name: list(row.values()) for name, row in rows.items()}
        path = results / f"{self.tables[0].replace('*', set_name)}.csv"
        write_table(path, [layout.label, *{**official_names, **layout.titles}.values()], cells)
        return path, text_table([layout.label.lower(), *official_names.values()], cells.items(), digits)

    def read_table(self, name: str, path: Path, other: Path | None) -> EvaluationTables:
        """Read tables that `evaluation` wrote, for a report: the one with the means, and the second one if it exists.

        `name` is the text that ``*`` stands for in `tables`. Raises ConfigError for tables that hold something else.
        """
        spec, layout = self.metric_spec, self.layout
        titles = {**spec.official, **layout.titles}
        table = read_table(path, [layout.label, *titles.values()])
        total = last_row(path, table, layout.total)
        texts = {row[layout.label]: layout.read(row[titles[spec.order[0]]]) for row in table.records[:-1]}
        values = {row: as_number(text) for row, text in texts.items()}
        return EvaluationTables(
            metric_spec=spec,
            name=name,
            means={spec.official[column]: layout.read(total[title]) for column, title in titles.items()},
            by_video=video_means(values, skip=True) if layout.label == "Object" else values,
            tables=(table,) if other is None else (table, read_table(other)),
        )

    @abstractmethod
    def open_frames(self, video: Video, folder: Path) -> ResultFrames:
        """Open a video's results for drawing; raises LabelError if they or the truth are unreadable or do not fit."""
