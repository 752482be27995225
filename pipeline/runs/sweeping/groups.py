"""The jobs of a sweep: one video's settings that share a ranking of sources, labelled and scored in one go."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from ....propagate import (
    AnnotatedLabel,
    CachedAffinities,
    Fusion,
    SweepPass,
    WeightedSettings,
    annotation_labels,
    label_frames,
)
from ....store import AffinityUnit
from ....store.errors import TedError
from ...choices.hints import explain
from ...tasks.base import Evaluator, Score
from ...tasks.timing import Seconds, timed_items

__all__ = ["Course", "Group", "GroupScores", "group_settings", "score_group"]

#: Settings in a group: the labels of all of them, of every context frame, are in memory at once, and a lost group is
#: lost work; but each group reads and ranks the affinities once more.
_MOST_SETTINGS = 8


@dataclass(frozen=True, kw_only=True)
class Course:
    """What one target's labels are carried along.

    Attributes
    ----------
    unit
        Kept affinities of the pass.
    the_pass
        What they were searched for.
    given
        Labels of the annotated frames by their indices, on the affinities' grid.
    """

    unit: AffinityUnit
    the_pass: SweepPass
    given: Mapping[int, AnnotatedLabel]


@dataclass(frozen=True, kw_only=True)
class Group:
    """One job: picklable, and all that it needs beside the files that it names.

    Attributes
    ----------
    courses
        One for each target.
    settings
        Some settings of their passes.
    grader
        Scores the labels.
    frame_size
        (height, width) of the frames that the features were computed from.
    device
        Where labels are computed.
    """

    courses: tuple[Course, ...]
    settings: tuple[WeightedSettings, ...]
    grader: Evaluator
    frame_size: tuple[int, int]
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """The result of a job.

    Attributes
    ----------
    scores
        The video's score under each setting; empty where it failed.
    error
        Why it failed; None otherwise.
    seconds
        What it spent on ``reading``, ``labels``, ``decoding`` and ``metrics``.
    """

    scores: tuple[Score, ...]
    error: str | None
    seconds: Seconds


def group_settings(settings: Iterable[WeightedSettings]) -> list[tuple[WeightedSettings, ...]]:
    """Divide the settings of a pass into groups that rank sources alike: the same weights and context, at most 8.

    The division depends on the settings alone, and not on how many groups run at once.
    """
    alike: dict[Fusion, list[WeightedSettings]] = {}
    for values in settings:
        alike.setdefault(values.fusion(), []).append(values)
    return [
        tuple(group[start : start + _MOST_SETTINGS])
        for group in alike.values()
        for start in range(0, len(group), _MOST_SETTINGS)
    ]


def score_group(group: Group) -> GroupScores:
    """Run a job; a video that cannot be scored is an error in the result, and stops no other."""
    seconds: Seconds = {}
    try:
        labels = (_labels(group, course, seconds) for course in group.courses)
        scores = group.grader.score(labels, len(group.settings), group.frame_size, seconds)
    except TedError as error:
        return GroupScores(scores=(), error=explain(error), seconds=seconds)
    finally:
        if "labels" in seconds:  # which are made of what is read meanwhile
            seconds["labels"] -= seconds.get("reading", 0.0)
    return GroupScores(scores=tuple(scores), error=None, seconds=seconds)


def _labels(group: Group, course: Course, seconds: Seconds) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Yield each frame and a target's soft labels in it, under each setting; the first annotated frame comes first."""
    steps = timed_items(CachedAffinities(course.unit).steps(group.device), seconds, "reading")
    given = annotation_labels(course.given, group.device)
    settings = [item.of_parts(course.the_pass.parts) for item in group.settings]
    return timed_items(label_frames(steps, given, settings), seconds, "labels")
