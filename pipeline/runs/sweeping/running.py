"""Running a sweep: affinities once for every pass, then groups of settings on whatever runs tasks."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from ....propagate import InProcess, Workers, cache_affinities, check_access
from ....store import AffinityUnit, Cache
from ....store.errors import TedError
from ...choices.hints import explain
from ...tasks.timing import Seconds, timed
from .groups import Course, Group, group_settings, score_group
from .journal import Journal
from .planning import SweepPlan
from .threads import Threads, processors
from .work import Leg, PassWork, VideoWork

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
    """A group on its way: its video, the keys of its scores, and the affinities that no later one needs."""

    work: VideoWork
    group: Group
    keys: tuple[str, ...]
    served: tuple[AffinityUnit, ...]


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
    ) -> Iterator[tuple[VideoWork, PassWork, list[tuple[AffinityUnit, bool]]]]:
        """Yield the affinities of all passes, and whether they were computed just now: then after a rest."""
        units = {unit.folder: unit for work in self._plan.videos for leg in work.legs for unit in leg.units}
        check_access(self._workers, units.values())
        for work in self._plan.videos:
            try:
                for of_pass in work.passes:
                    found = []
                    for leg in of_pass.legs:
                        before = self._cache.affinity_state(leg.affinities) == "complete"
                        if rest is not None and not before:
                            rest()
                        with timed(self.seconds, "affinities"):
                            found.append((self._unit(leg), not before))
                    yield work, of_pass, found
            except TedError as error:
                self.fail(work.video.name, explain(error))

    def _unit(self, leg: Leg) -> AffinityUnit:
        if not leg.units:
            self._progress.affinities(leg.affinities.frame_count)
            return AffinityUnit(leg.affinities.folder(self._cache.root))
        return cache_affinities(
            self._cache,
            leg.units,
            leg.the_pass.search,
            device=self._device,
            workers=self._workers,
            progress=self._progress.affinities,
        ).unit

    def jobs(self, journal: Journal, rest: Callable[[], None] | None) -> Iterator[_Job]:
        """Yield the groups of all passes."""
        wanted = Counter(leg.affinities.folder(self._cache.root) for work in self._plan.videos for leg in work.legs)
        for work, of_pass, found in self.affinities(rest):
            if work.grading is None:
                continue
            for unit, is_new in found:
                if is_new:
                    journal.add_affinities(unit.folder.relative_to(self._cache.root).as_posix())
                wanted[unit.folder] -= 1
            courses = tuple(
                Course(unit=unit, the_pass=leg.the_pass, given=target.encode(unit.spec.grid))
                for (unit, _), leg, (_, target) in zip(found, of_pass.legs, work.grading.targets, strict=True)
            )
            groups = group_settings(of_pass.settings)
            for number, settings in enumerate(groups, 1):
                is_last = number == len(groups)
                yield _Job(
                    work=work,
                    group=Group(
                        courses=courses,
                        settings=settings,
                        grader=work.grading.grader,
                        frame_size=of_pass.frame_size,
                        device=str(self._device),
                    ),
                    keys=tuple(work.keys[of_pass.settings[values]] for values in settings),
                    served=tuple(unit for unit, _ in found if is_last and not wanted[unit.folder]),
                )


def keep_all_affinities(
    cache: Cache, plan: SweepPlan, *, workers: Workers, device: torch.device, progress: Progress
) -> tuple[SweepPlan, Seconds]:
    """Compute the affinities of a plan, and leave them in the cache; see `run_sweep`."""
    run = _Run(cache, plan, workers=workers, device=device, progress=progress)
    for _, _, found in run.affinities():
        for unit, is_new in found:
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
        if not keep:
            for unit in job.served:
                _discard(cache, unit, journal, progress)
    wall = time.perf_counter() - started
    return replace(plan, failures=run.failures), {"wall": wall, **run.seconds}


def _discard(cache: Cache, unit: AffinityUnit, journal: Journal, progress: Progress) -> None:
    """Remove affinities that this sweep has written."""
    if unit.folder.relative_to(cache.root).as_posix() not in journal.affinities:
        return
    try:
        cache.remove(unit.folder)
    except TedError as error:
        progress.note(f"affinities were not removed: {explain(error)}")
