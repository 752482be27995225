"""Jobs of a sweep: label and score the settings of one video that share a ranking of sources."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from ....propagate import CachedAffinities, FrameCandidates, Fusion, TrackingSession, WeightedSettings
from ....store import AffinityUnit
from ....store.errors import TedError
from ...choices.hints import explain
from ...tasks.base import Evaluator, Score
from ...tasks.timing import Seconds, timed_items
from .planning import TargetAffinities

#: Maximum number of settings in a group. The labels of all its settings, for every context frame, are in memory at
#: once, and an interrupted group is computed again; but every group reads and ranks the affinities itself.
_MOST_SETTINGS = 8


@dataclass(frozen=True, kw_only=True)
class Group:
    """One job: some settings of a pass. It is picklable and refers to affinities by their folders."""

    targets: tuple[TargetAffinities, ...]
    settings: tuple[WeightedSettings, ...]
    evaluator: Evaluator
    frame_size: tuple[int, int]
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """The result of a job: the score under each setting, or an error's message, and the seconds of each step."""

    scores: tuple[Score, ...]
    error: str | None
    seconds: Seconds


def group_settings(settings: Iterable[WeightedSettings]) -> list[tuple[WeightedSettings, ...]]:
    """Divide the settings of a pass into groups of at most 8 with the same weights and context.

    The division depends on the settings alone, not on how many groups run at once.
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
    """Run a job; an error of the video is returned in the result."""
    seconds: Seconds = {}
    try:
        labels = (_labels(group, target, seconds) for target in group.targets)
        scores = group.evaluator.score(labels, len(group.settings), group.frame_size, seconds)
    except TedError as error:
        return GroupScores(scores=(), error=explain(error), seconds=seconds)
    finally:
        if "labels" in seconds:  # labels are computed while affinities are read
            seconds["labels"] -= seconds.get("reading", 0.0)
    return GroupScores(scores=tuple(scores), error=None, seconds=seconds)


def _labels(group: Group, target: TargetAffinities, seconds: Seconds) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Yield each frame and a target's soft label under each setting, beginning with the first annotated frame."""
    affinities = _TimedAffinities(AffinityUnit(target.folder), group.device)
    affinities.seconds = seconds
    settings = [item.of_parts(target.sweep_pass.parts) for item in group.settings]
    session = TrackingSession(affinities, settings[0], target.annotations, memory=0)
    return timed_items(session.sweep(settings), seconds, "labels")


class _TimedAffinities(CachedAffinities):
    """Cached affinities whose reading is timed."""

    seconds: Seconds

    def steps(self, frames: range | None = None) -> Iterator[FrameCandidates]:
        return timed_items(super().steps(frames), self.seconds, "reading")
