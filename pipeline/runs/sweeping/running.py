"""Run a sweep: compute affinities once for every pass, then score groups of settings on the workers."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from ....propagate import InProcess, Workers, cache_affinities, check_access
from ....propagate.cluster import processor_count
from ....store import AffinityUnit, Cache, ReadLock, is_claimed, video_folder
from ....store.errors import ClaimedError, TedError
from ...choices.hints import explain, plural
from ...tasks.timing import Seconds, add_seconds, timed
from ..threads import Threads
from .groups import Group, GroupScores, group_settings, labels_together, large_groups, score_group
from .journal import Journal
from .planning import PassPlan, SweepPlan, TargetAffinities, VideoPlan

#: Seconds between two checks of affinities that another process computes.
_LOOK_S = 2.0


class Progress(Protocol):
    """Receiver of a sweep's progress."""

    def affinities(self, frames: int) -> None:
        """Count frames whose affinities are in the cache now."""

    def scores(self, settings: int) -> None:
        """Count settings that are scored now, each on one video."""

    def note(self, text: str) -> None:
        """Print a line for people."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A group of a video that is being scored, the keys of its scores, and affinities that no later group needs."""

    video: str
    group: Group
    keys: tuple[str, ...]
    served: tuple[AffinityUnit, ...]


class _Run:
    """The state of a run; `held` are videos with passes whose affinities another process is computing."""

    def __init__(
        self, cache: Cache, plan: SweepPlan, *, workers: Workers, device: torch.device, progress: Progress
    ) -> None:
        self.seconds: Seconds = {}
        self.failures = dict(plan.failures)
        self.held: list[VideoPlan] = []
        self._cache = cache
        self._plan = plan
        self._workers = workers
        self._device = device
        self._progress = progress
        self.written: set[Path] = set()
        self._locks: dict[str, ReadLock] = {}
        self._waiting_for: dict[Path, ClaimedError] = {}
        self._unserved: dict[Path, str] = {}
        units = {unit.folder: unit for work in plan.videos for target in work.targets for unit in target.units}
        check_access(workers, units.values())

    def fail(self, video: str, reason: str) -> None:
        """Record why a video failed."""
        if video not in self.failures:
            self.failures[video] = reason
            self._progress.note(f"Error: {video}: {reason}")

    def affinities(
        self, videos: Sequence[VideoPlan], rest: Callable[[], None] | None = None
    ) -> Iterator[tuple[VideoPlan, PassPlan, list[AffinityUnit]]]:
        """Yield the affinities of every pass; call `rest` before any are computed, to wait for running tasks."""
        self.held = []
        self._waiting_for = {}
        for planned in videos:
            name = planned.video.name
            if name in self.failures or not planned.passes:
                continue
            if name not in self._locks:  # from here on, no other process discards these affinities
                self._locks[name] = ReadLock(video_folder(self._cache.root, planned.video.dataset, name))
            work = planned if self._is_up_to_date(planned) else self._plan.replan(planned)
            try:
                for of_pass in work.passes:
                    units = []
                    try:
                        for target in of_pass.targets:
                            units.append(self._unit(target, rest))
                    except ClaimedError as error:
                        self._waiting_for[target.folder] = error
                        if not self.held or self.held[-1] is not work:
                            self.held.append(work)
                    else:
                        yield work, of_pass, units
            except TedError as error:
                self.fail(name, explain(error))

    def _is_up_to_date(self, work: VideoPlan) -> bool:
        """Return False if affinities that were in the cache have been removed since."""
        return all(target.units or self._cache.state(target.spec) == "complete" for target in work.targets)

    def _unit(self, target: TargetAffinities, rest: Callable[[], None] | None) -> AffinityUnit:
        with timed(self.seconds, "affinities"):
            if not target.units or self._cache.state(target.spec) == "complete":
                self._progress.affinities(target.spec.frame_count)
                return AffinityUnit(target.folder)
        if rest is not None:
            rest()
        with timed(self.seconds, "affinities"):
            unit = cache_affinities(
                self._cache,
                target.units,
                target.sweep_pass.search,
                device=self._device,
                workers=self._workers,
                progress=self._progress.affinities,
            ).unit
        self.written.add(target.folder)
        return unit

    def wait(self) -> list[VideoPlan]:
        """Wait until another process has stopped computing some of the needed affinities; return the remaining work."""
        first = next(iter(self._waiting_for.values()))
        self._progress.note(f"waiting for affinities that other processes are computing: {first}")
        while all(is_claimed(folder) for folder in self._waiting_for):
            time.sleep(_LOOK_S)
        return [self._plan.replan(work) for work in self.held]

    def jobs(self, videos: Sequence[VideoPlan], journal: Journal, rest: Callable[[], None] | None) -> Iterator[_Job]:
        """Yield the groups of all passes whose affinities are available."""
        wanted: Counter[Path] = Counter()
        counted: VideoPlan | None = None
        for work, of_pass, units in self.affinities(videos, rest):
            if work.case is None:
                continue
            if work is not counted:
                counted = work
                wanted = Counter(target.folder for target in work.targets)
            for unit in units:
                if unit.folder in self.written:
                    journal.add_affinities(unit.folder.relative_to(self._cache.root).as_posix())
                wanted[unit.folder] -= 1
            targets = tuple(
                replace(affinities, units=(), annotations=target.encode(affinities.spec.grid))
                for affinities, (_, target) in zip(of_pass.targets, work.case.targets, strict=True)
            )
            together = labels_together(self._device)
            groups = large_groups(of_pass.settings, targets) if together else group_settings(of_pass.settings)
            for number, settings in enumerate(groups, 1):
                is_last = number == len(groups)
                yield _Job(
                    video=work.video.name,
                    group=Group(
                        targets=targets,
                        settings=settings,
                        evaluator=work.case.evaluator,
                        frame_size=of_pass.frame_size,
                    ),
                    keys=tuple(work.keys[of_pass.settings[values]] for values in settings),
                    served=tuple(unit for unit in units if is_last and not wanted[unit.folder]),
                )

    def discard(self, video: str, units: Sequence[AffinityUnit], journal: Journal) -> None:
        """Remove affinities that sweeps of this journal have written, unless a process is reading the video's."""
        for unit in units:
            if unit.folder.relative_to(self._cache.root).as_posix() in journal.affinities:
                self._unserved[unit.folder] = video
        for folder in [folder for folder, name in self._unserved.items() if name == video]:
            with self._locks[video].alone() as alone:
                if alone:
                    del self._unserved[folder]
                    try:
                        self._cache.remove(folder)
                    except TedError as error:
                        self._progress.note(f"affinities were not removed: {explain(error)}")

    def finish(self, video: str) -> None:
        """Release the lock on a video's affinities, unless this process still has to remove some."""
        if video in self._locks and video not in self._unserved.values():
            self._locks.pop(video).close()

    def close(self, journal: Journal | None = None) -> None:
        """Remove affinities that could not be removed before, and release all locks."""
        for video, lock in self._locks.items():
            if journal is not None and video in self._unserved.values():
                self.discard(video, (), journal)
            lock.close()
        for folder in self._unserved:
            self._progress.note(f"{folder} stays in the cache, because another process is reading affinities there")
        self._locks = {}


def keep_all_affinities(
    cache: Cache, plan: SweepPlan, *, workers: Workers, device: torch.device, progress: Progress
) -> tuple[SweepPlan, Seconds]:
    """Compute the affinities of a plan, and leave them in the cache; see `run_sweep`."""
    run = _Run(cache, plan, workers=workers, device=device, progress=progress)
    seen: set[Path] = set()
    videos = plan.videos
    try:
        while videos:
            for work, _, units in run.affinities(videos):
                run.finish(work.video.name)
                for unit in (unit for unit in units if unit.folder not in seen):
                    seen.add(unit.folder)
                    progress.note(f"{unit.spec.label}: {'written' if unit.folder in run.written else 'there before'}")
            videos = run.wait() if run.held else []
    finally:
        run.close()
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
    """Compute the missing scores; after a failure, the other videos continue.

    On a cluster, affinities of a pass are computed while groups of earlier passes are being scored; in this process,
    they are computed afterwards. The run waits for affinities that another process is computing, after everything
    else. Results do not depend on where tasks run.

    Parameters
    ----------
    journal
        Receives the scores of each group as soon as they are known.
    workers
        Executor of groups and of searches. In this process, groups run on one thread per processor; a GPU runs one
        group, with many settings, which is scored in as many threads.
    keep
        Whether to leave affinities in the cache. Otherwise, affinities that sweeps of this journal have written are
        removed once no setting needs them and no other process is reading affinities of the video.

    Returns
    -------
    tuple
        The plan with the failures of this run, and seconds: ``wall`` time, and the time spent on each step by all
        workers together.
    """
    run = _Run(cache, plan, workers=workers, device=device, progress=progress)
    started = time.perf_counter()
    under_way: deque[_Job] = deque()
    total = Counter({work.video.name: work.missing for work in plan.videos})
    left = total.copy()

    here = isinstance(workers, InProcess) and device.type == "cpu"
    threads = Threads(processor_count()) if here else None
    scorers: Workers = threads or workers
    rest = threads.rest if threads else None

    def groups(videos: Sequence[VideoPlan]) -> Iterator[tuple[Group, str]]:
        for job in run.jobs(videos, journal, rest):
            under_way.append(job)
            yield job.group, str(device)

    videos = plan.videos
    try:
        while videos:
            for result in scorers.map(_score, groups(videos)):
                job = under_way.popleft()
                add_seconds(run.seconds, result.seconds)
                if result.error is not None:
                    run.fail(job.video, result.error)
                else:
                    journal.add_scores(dict(zip(job.keys, result.scores, strict=True)))
                progress.scores(len(job.keys))
                left[job.video] -= len(job.keys)
                if not left[job.video] and job.video not in run.failures:
                    progress.note(f"{job.video}: {plural(total[job.video], 'setting')} scored")
                if not keep:
                    run.discard(job.video, job.served, journal)
                if not left[job.video]:
                    run.finish(job.video)
            videos = run.wait() if run.held else []
    finally:
        run.close(None if keep else journal)
    wall = time.perf_counter() - started
    return replace(plan, failures=run.failures), {"wall": wall, **run.seconds}


def _score(group: Group, device: str) -> GroupScores:
    return score_group(replace(group, device=device))
