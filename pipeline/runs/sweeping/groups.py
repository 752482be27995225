"""Jobs of a sweep: label and score the settings of one video that share a ranking of sources."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from ....extract.prefetch import Prefetched
from ....propagate import CachedAffinities, FrameCandidates, Fusion, TrackingSession, WeightedSettings
from ....propagate.cluster import processor_count
from ....store import AffinityUnit
from ....store.errors import TedError
from ...choices.hints import explain
from ...tasks.base import Evaluator, Score
from ...tasks.timing import Seconds, add_seconds, timed_items
from ..threads import Threads
from .planning import TargetAffinities

#: Maximum number of settings in a group. The labels of all its settings, for every context frame, are in memory at
#: once, and an interrupted group is computed again; but every group reads and ranks the affinities itself.
_MOST_SETTINGS = 8

# Maximum size in bytes of the labels of a group that a GPU computes, for all context frames.
_LABELS = 2**30
# Frames whose labels a GPU computes ahead of the threads that score them, and by which one thread may be ahead.
_AHEAD = 2


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


def labels_together(device: torch.device | str) -> bool:
    """Tell whether a device labels with many settings together, while threads score: true for GPUs."""
    return torch.device(device).type != "cpu"


def large_groups(
    settings: Iterable[WeightedSettings], targets: Iterable[TargetAffinities]
) -> list[tuple[WeightedSettings, ...]]:
    """Divide the settings of a pass into the fewest groups whose labels fit in a GPU's memory (1 GiB)."""
    every, size = tuple(settings), 1
    for target in targets:
        label = next(iter(target.annotations.values())).label
        context = max(item.settings.context for item in every) + len(target.annotations)
        size = max(size, label.nbytes * min(context, target.spec.frame_count))
    count = max(1, _LABELS // size)
    return [every[start : start + count] for start in range(0, len(every), count)]


def score_group(group: Group) -> GroupScores:
    """Run a job; an error of the video is returned in the result."""
    seconds: Seconds = {}
    try:
        if labels_together(group.device):
            scores: Sequence[Score] = _score_in_threads(group, seconds)
        else:
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


def _score_in_threads(group: Group, seconds: Seconds) -> list[Score]:
    """Label with all settings in one pass in one thread, and score shares of them in a thread for each processor."""
    total = len(group.settings)
    count = min(total, max(1, processor_count() // max(1, torch.cuda.device_count())))
    shares = [slice(total * number // count, total * (number + 1) // count) for number in range(count)]
    with ExitStack() as stack:
        passes = []
        for target in group.targets:
            labels = Prefetched((item for item in _labels(group, target, seconds)), _AHEAD)
            passes.append(SharedLabels(iter(stack.enter_context(labels)), count))

        def score(number: int, share: slice) -> tuple[Sequence[Score], Seconds]:
            own: Seconds = {}
            labels = (one.read(number, share) for one in passes)
            try:
                return group.evaluator.score(labels, share.stop - share.start, group.frame_size, own), own
            finally:
                for one in passes:
                    one.leave(number)

        results = list(Threads(count).map(score, enumerate(shares), ahead=count))
    for _, own in results:
        add_seconds(seconds, own)
    return [score for scores, _ in results for score in scores]


class SharedLabels:
    """The labels of one pass, read by several threads; a frame is held until all of them have read it.

    A thread waits before it is more than a few frames ahead of another one, so that few frames are held.
    """

    def __init__(self, labels: Iterator[tuple[int, list[torch.Tensor]]], readers: int) -> None:
        self._labels = labels
        self._read: dict[int, int] = dict.fromkeys(range(readers), 0)  # frames that each thread has read
        self._held: deque[tuple[int, list[torch.Tensor]]] = deque()
        self._dropped = 0
        self._end: BaseException | None = None
        self._changed = threading.Condition()

    def read(self, reader: int, share: slice) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Yield each frame, and its labels under a share of the settings; raise an error of the source."""
        while (item := self._next(reader)) is not None:
            yield item[0], item[1][share]

    def leave(self, reader: int) -> None:
        """Wait for a thread no longer."""
        with self._changed:
            self._read.pop(reader, None)
            self._drop()

    def _next(self, reader: int) -> tuple[int, list[torch.Tensor]] | None:
        with self._changed:
            number = self._read[reader]
            while number - min(self._read.values()) > _AHEAD:
                self._changed.wait()
            if number == self._dropped + len(self._held) and self._end is None:
                try:
                    self._held.append(next(self._labels))
                except BaseException as error:  # StopIteration, too: for every reader
                    self._end = error
            if number == self._dropped + len(self._held):
                assert self._end is not None
                if isinstance(self._end, StopIteration):
                    return None
                raise self._end
            item = self._held[number - self._dropped]
            self._read[reader] += 1
            self._drop()
            return item

    def _drop(self) -> None:
        while self._held and min(self._read.values(), default=self._dropped + 1) > self._dropped:
            self._held.popleft()
            self._dropped += 1
        self._changed.notify_all()


class _TimedAffinities(CachedAffinities):
    """Cached affinities whose reading is timed."""

    seconds: Seconds

    def steps(self, frames: range | None = None) -> Iterator[FrameCandidates]:
        return timed_items(super().steps(frames), self.seconds, "reading")
