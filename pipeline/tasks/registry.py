"""The one list of tasks: the built-in ones, and those that installed packages offer."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...store.errors import ConfigError, LabelError
from ...store.plugins import entry_points
from ..datasets.video import Video
from .base import EvaluationTables, ResultFrames, Score, Task
from .boxes.task import BoxTask
from .joints.task import JointTask
from .masks.task import MaskTask
from .mot import MotsTask, MotTask
from .parts.task import PartTask
from .points.task import PointTask
from .scoring import MetricSpec

_log = logging.getLogger(__name__)

_GROUP = "ted.tasks"
_BUILT_IN: tuple[type[Task], ...] = (MaskTask, PartTask, JointTask, PointTask, BoxTask)


def known_tasks() -> dict[str, type[Task]]:
    """Return all tasks by name: the built-in ones first.

    An entry point that cannot be loaded, or is not a task of its name, is left out with a warning, so that it does not
    stop work on other tasks.
    """
    tasks = {task.name: task for task in _BUILT_IN}
    for offer in entry_points(group=_GROUP):
        try:
            task = offer.load()
        except Exception as error:
            _log.warning("task %r of %s cannot be loaded, and is left out: %s", offer.name, offer.value, error)
            continue
        if not (isinstance(task, type) and issubclass(task, Task) and task.name == offer.name):
            _log.warning("%s is offered as task %r, but is no Task of that name: left out", offer.value, offer.name)
        elif tasks.setdefault(task.name, task) is not task:
            _log.warning("%s is offered as task %r, a name that is taken: left out", offer.value, offer.name)
    return tasks


def tasks_reading(annotations: Path) -> tuple[str, ...]:
    """Return the names of the tasks that read these annotations in their own format."""
    return tuple(name for name, task in known_tasks().items() if task.reads(annotations))


def task_of(video: Video, target: str | None = None, options: Mapping[str, Any] | None = None) -> Task:
    """Return the task of a video, with the options that it takes.

    `target` is the task's name; by default, and for ``"masks"``, it is the first task that the video names. Raises
    ConfigError for an unknown target, or a target that the video has no annotations for.
    """
    tasks = known_tasks()
    if target is not None and target not in tasks:
        raise ConfigError(f"unknown target {target!r}; there are: {', '.join(tasks)}")
    accepted = _accepting(video, tasks, options or {})
    if not accepted:
        raise ConfigError(f"nothing is annotated in video {video.name!r} that any task tracks")
    default = next(iter(accepted.values()))
    if target is None or (target == MaskTask.name and target not in accepted):
        return default
    if target not in accepted:
        raise ConfigError(
            f"video {video.name!r} has annotations for {' and '.join(accepted)}, not for {target}: choose one of "
            "these, or leave the target out"
        )
    return accepted[target]


def common_task(videos: Sequence[Video], target: str | None = None, options: Mapping[str, Any] | None = None) -> Task:
    """Return the one task that tracks and scores several videos; raises ConfigError as `task_of`, and for two tasks."""
    tasks = {task.name: task for task in (task_of(video, target, options) for video in videos)}
    if len(tasks) > 1:
        raise ConfigError(
            f"{' and '.join(tasks)} have different metrics, which need separate tables: take the sources one by one"
        )
    return tasks.popitem()[1]


def task_of_results(video: Video, folder: Path) -> Task | None:
    """Return the task that wrote a video's folder of results, trying its own tasks first; None if there are none."""
    tasks = known_tasks()
    own = _accepting(video, tasks, {})
    every = [*own.values(), *(task() for name, task in tasks.items() if name not in own)]
    return next((task for task in every if task.has_results(folder)), None)


def open_frames(video: Video, folder: Path) -> ResultFrames:
    """Open a video's folder of results of any task, for drawing; raises LabelError as `Task.open_frames`."""
    task = task_of_results(video, folder)
    if task is None:
        raise LabelError(f"there are no results of video {video.name!r} in {folder}: `ted propagate` makes them")
    return task.open_frames(video, folder)


def _scoring_tasks() -> dict[str, type[Task]]:
    """Return all tasks by name, and those that only score results of others."""
    return {**known_tasks(), MotTask.name: MotTask, MotsTask.name: MotsTask}


def metric_specs() -> tuple[MetricSpec, ...]:
    """Return the metrics of all tasks. Results with metrics of several tasks are compared by the first."""
    return tuple(task.metric_spec for task in _scoring_tasks().values())


def metric_spec_of(columns: Collection[str]) -> MetricSpec | None:
    """Return the metrics of a sweep's table with these columns; None if no task has them."""
    return next((found for found in metric_specs() if set(found.columns) <= set(columns)), None)


def read_score(value: Any) -> Score:
    """Build a score from the value of its `to_json`; raises TypeError, KeyError or ValueError for another value."""
    for task in _scoring_tasks().values():
        key = task.score_type.json_key
        if key in value if key else isinstance(value, list):
            return task.score_type.from_json(value)
    raise ValueError("this is no score of any task")


def read_evaluations(folder: Path) -> tuple[EvaluationTables, ...]:
    """Read all tables that evaluations wrote into a folder; raises ConfigError as `Task.read_table`."""
    found = []
    for task in _scoring_tasks().values():
        first, second = task.tables
        for path in sorted(folder.glob(f"{first}.csv")):
            name = path.stem.removeprefix(first.removesuffix("*")) if first.endswith("*") else ""
            other = None if second is None else path.with_name(f"{second.replace('*', name)}.csv")
            found.append(task().read_table(name, path, other if other is not None and other.is_file() else None))
    return tuple(found)


def has_evaluations(folder: Path) -> bool:
    """Return whether a folder holds tables of an evaluation."""
    return any(True for task in _scoring_tasks().values() for _ in folder.glob(f"{task.tables[0]}.csv"))


def _accepting(video: Video, tasks: Mapping[str, type[Task]], options: Mapping[str, Any]) -> dict[str, Task]:
    """Return the tasks of a video by name, those that it names first."""
    order: Sequence[str] = [*video.tasks, *(name for name in tasks if name not in video.tasks)]
    made = {name: _configured(tasks[name], options) for name in order if name in tasks}
    return {name: task for name, task in made.items() if task.accepts(video)}


def _configured(task: type[Task], options: Mapping[str, Any]) -> Task:
    known = {item.name for item in fields(task)} if hasattr(task, "__dataclass_fields__") else set()  # type: ignore[arg-type]
    return task(**{name: value for name, value in options.items() if name in known and value is not None})
