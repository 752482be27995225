"""Running a sweep: affinities once for every pass, then groups of settings on whatever runs tasks."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from ...propagate.cluster import InProcess, Workers, check_access
from ...propagate.kept import keep_affinities
from ...store import AffinityUnit, Cache
from ...store.errors import TedError
from .groups import Group, group_settings, score_group
from .journal import Journal
from .planning import SweepPlan
from .threads import Threads, processors
from .timing import Seconds, timed
from .work import PassWork, VideoWork

__all__ = ["Progress", "keep_all_affinities", "run_sweep"]


class Progress(Protocol):
    """What is told how a sweep goes on."""

    def affinities(self, frames: int) -> None:
        """Count frames that have their affinities now."""

    def scores(self, settings: int) -> None:
        """Count settings that have their scores now, each on one video."""

    def note(self, text: str) -> None:
        """Print a line for people."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A group on its way: its video, the keys of its scores, and whether it is the last of its pass."""

    work: VideoWork
    group: Group
    keys: tuple[str, ...]
    last: bool


class _Run:
    """The state of a run: what failed so far, and what is on its way."""

    def __init__(
        self, cache: Cache, plan: SweepPlan, *, workers: Workers, device: torch.device, progress: Progress
    ) -> None:
        self.seconds: Seconds = {}
        self.failures = dict(plan.failures)
        self._cache = cache
        self._plan = plan
        self._workers = workers
        self._device = device
        self._progress = progress

    def fail(self, video: str, reason: str) -> None:
        if video not in self.failures:
            self.failures[video] = reason
            self._progress.note(f"Error: {video}: {reason}")

    def affinities(
        self, rest: Callable[[], None] | None = None
    ) -> Iterator[tuple[VideoWork, PassWork, AffinityUnit, bool]]:
        """Yield, for every pass, its affinities, and whether they were computed just now: then after a rest."""
        units = {unit.folder: unit for work in self._plan.videos for of_pass in work.passes for unit in of_pass.units}
        check_access(self._workers, units.values())
        for work in self._plan.videos:
            try:
                for of_pass in work.passes:
                    before = self._cache.affinity_state(of_pass.affinities) == "complete"
                    if rest is not None and not before:
                        rest()
                    with timed(self.seconds, "affinities"):
                        unit = self._unit(of_pass)
                    yield work, of_pass, unit, not before
            except TedError as error:
                self.fail(work.video.name, str(error))

    def _unit(self, of_pass: PassWork) -> AffinityUnit:
        if not of_pass.units:
            self._progress.affinities(of_pass.affinities.frame_count)
            return AffinityUnit(of_pass.affinities.folder(self._cache.root))
        return keep_affinities(
            self._cache,
            of_pass.units,
            of_pass.the_pass.search,
            device=self._device,
            workers=self._workers,
            progress=self._progress.affinities,
        ).unit

    def jobs(self, journal: Journal, rest: Callable[[], None] | None) -> Iterator[_Job]:
        """Yield the groups of all passes."""
        for work, of_pass, unit, is_new in self.affinities(rest):
            if work.grading is None:
                continue
            if is_new:
                journal.add_affinities(unit.folder.relative_to(self._cache.root).as_posix())
            given = work.grading.masks.encode(unit.spec.grid)
            target = work.grading.target(of_pass.frame_size)
            groups = group_settings(of_pass.settings)
            for number, settings in enumerate(groups, 1):
                yield _Job(
                    work=work,
                    group=Group(
                        unit=unit,
                        the_pass=of_pass.the_pass,
                        settings=settings,
                        given=given,
                        target=target,
                        device=str(self._device),
                    ),
                    keys=tuple(work.keys[of_pass.settings[values]] for values in settings),
                    last=number == len(groups),
                )


def keep_all_affinities(
    cache: Cache, plan: SweepPlan, *, workers: Workers, device: torch.device, progress: Progress
) -> tuple[SweepPlan, Seconds]:
    """Compute the affinities of a plan, and leave them in the cache; see `run_sweep`."""
    run = _Run(cache, plan, workers=workers, device=device, progress=progress)
    for _, _, unit, is_new in run.affinities():
        progress.note(f"{unit.spec.label}: {'written' if is_new else 'there before'}")
    return replace(plan, failures=run.failures), run.seconds


def run_sweep(
    cache: Cache,
    plan: SweepPlan,
    journal: Journal,
    *,
    workers: Workers,
    device: torch.device,
    keep: bool,
    progress: Progress,
) -> tuple[SweepPlan, Seconds]:
    """Do what is missing; a failing video stops no other.

    On a cluster, affinities of a pass are computed while groups of earlier passes are being scored; in this process,
    when those are done. Results do not depend on what runs where.

    Parameters
    ----------
    cache
        Where features and affinities are.
    plan
        What to do.
    journal
        Takes the scores, each group's at once.
    workers
        What runs groups, and the searches of affinities. In this process, groups run on as many threads as it has
        processors.
    device
        Where affinities and labels are computed.
    keep
        Leave affinities in the cache; if not, those that sweeps of this journal have written are removed once they
        have served.
    progress
        Is told.

    Returns
    -------
    plan : SweepPlan
        With the failures that came up.
    seconds : dict
        ``wall`` for all of it, and what was spent on each step, by all workers together.
    """
    run = _Run(cache, plan, workers=workers, device=device, progress=progress)
    started = time.perf_counter()
    under_way: deque[_Job] = deque()
    left = Counter({work.video.name: work.missing for work in plan.videos})

    here = isinstance(workers, InProcess) and device.type == "cpu"
    threads = Threads(processors()) if here else None
    scorers: Workers = threads or workers
    rest = threads.rest if threads else None

    def groups() -> Iterator[tuple[Group]]:
        for job in run.jobs(journal, rest):
            under_way.append(job)
            yield (job.group,)

    for result in scorers.map(score_group, groups()):
        job = under_way.popleft()
        name = job.work.video.name
        for step, seconds in result.seconds.items():
            run.seconds[step] = run.seconds.get(step, 0.0) + seconds
        if result.error is not None:
            run.fail(name, result.error)
        else:
            journal.add_scores(dict(zip(job.keys, result.scores, strict=True)))
        progress.scores(len(job.keys))
        left[name] -= len(job.keys)
        if not left[name] and name not in run.failures:
            progress.note(f"{name}: {job.work.missing} settings scored")
        if job.last and not keep:
            _discard(cache, job.group.unit, journal, progress)
    wall = time.perf_counter() - started
    return replace(plan, failures=run.failures), {"wall": wall, **run.seconds}


def _discard(cache: Cache, unit: AffinityUnit, journal: Journal, progress: Progress) -> None:
    """Remove affinities that this sweep has written."""
    if unit.folder.relative_to(cache.root).as_posix() not in journal.affinities:
        return
    try:
        cache.remove(unit.folder)
    except TedError as error:
        progress.note(f"affinities were not removed: {error}")
