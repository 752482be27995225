"""Stage 2 for one video: propagate annotations along cached features, and write a folder of results."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ....extract.prefetch import Prefetched
from ....propagate import (
    AffinitySource,
    AffinityUse,
    FeatureReader,
    FoundCandidates,
    PropagationSettings,
    Target,
    TrackingSession,
    WeightedSettings,
    Workers,
    with_learned_heads,
)
from ....propagate.session import Correct
from ....store import Cache, FeatureChoice, Unit
from ....store.durable import explain_os_errors
from ....store.errors import ConfigError, TedError
from ...datasets.video import Video
from ...tasks.base import Task, TaskRun
from ...tasks.refiners import MakeRefiner, Refiner, get_refiner
from ...tasks.registry import task_of
from ...tasks.timing import Seconds, timed, timed_items
from ..result_folders import atomic_folder, has_same_result, result_folder
from ..threads import Behind
from .units import find_weighted_units

if TYPE_CHECKING:  # it imports networks
    from ...annotating.words import TextTargets

# Frames whose labels a GPU computes ahead of decoding, and decoded frames that wait to be written.
_AHEAD = _BEHIND = 4


@dataclass(frozen=True, kw_only=True)
class PropagationReport:
    """Report of the propagation of one video.

    Attributes
    ----------
    video
        Name of the video.
    folder
        Where the result is.
    frames
        Number of frames.
    skipped
        Whether the result was there before, made with the same settings from the same features.
    seconds
        Wall time.
    affinities
        Origin of the affinities (`FoundCandidates.origin`); empty for a result that was there before.
    unproven
        Share of pixels whose affinities may not be exact, 0 to 1; 0 unless approximate ones were accepted.
    timings
        Seconds by stage. Stages of several threads overlap; ``search`` is a part of ``search and label``.
    refined
        Counts of a refiner (`Refiner`); empty without one, and for a result that was there before.
    """

    video: str
    folder: Path
    frames: int
    skipped: bool
    seconds: float
    affinities: str = ""
    unproven: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    refined: Mapping[str, int] = field(default_factory=dict)


#: A report, the video with the annotations that it was propagated from, and a note about them.
Propagated = tuple[PropagationReport, Video, str]


def propagate_video(
    cache: Cache,
    video: Video,
    parts: Sequence[tuple[FeatureChoice, float]],
    settings: PropagationSettings,
    out: Path,
    *,
    device: torch.device,
    task: Task | None = None,
    refiner: Refiner | None = None,
    prefer: Sequence[tuple[str, str]] = (),
    overwrite: bool = False,
    affinities: AffinityUse = "auto",
    spare: float = 0.0,
    workers: Workers | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> PropagationReport:
    """Propagate a video's annotations, and write the result.

    Targets with the same annotated frames share a pass through the video: the first annotated frame, the frames after
    it, and, for tasks that track backward, the frames before it. The folder of the result appears when all of it is
    written. It holds the task's files, and a record of the inputs and settings, ``ted.json``.

    Parameters
    ----------
    video
        The video, with annotations of some frames. Its other ground truth is not read.
    parts
        Features and their weights; features of weight 0 need not exist.
    out
        Folder of results, with one folder for each video.
    task
        What is tracked; by default the first task of the video.
    refiner
        Improves what is decoded in frames without annotations. If it has `feedback`, its results are also the context
        of later frames.
    prefer
        Fields that decide between several units of a feature, as in `Cache.find`.
    overwrite
        Replace a result of other settings.
    affinities, spare
        How affinities in the cache are used, and the share of the free disk for those that are cached without being
        asked for; see `AffinitySource`.
    progress
        Called with the number of frames just done.

    Raises
    ------
    TedError
        When the folder holds a result of other settings, or something else; for annotations or frames that cannot be
        used; and for features that are missing, incomplete or damaged, or that belong to other frames.
    """
    clock = time.monotonic()
    folder = result_folder(out, video)
    run = (task or task_of(video)).start(video)
    units = find_weighted_units(cache, video, parts, prefer)
    settings = replace(settings, kernel=with_learned_heads(cache, [unit for unit, _ in units], settings.kernel))
    frames = PassProgress(len(video.frames), len(run.targets), progress)
    setting = WeightedSettings(weights=tuple(weight for _, weight in units), settings=settings)
    source = AffinitySource(
        cache,
        [unit for unit, _ in units],
        use=affinities,
        spare=spare,
        device=device,
        workers=workers,
        progress=frames.advance,
    )
    record = {**describe_result(units, settings), **run.record}
    if refiner is not None:
        record["refiner"] = dict(refiner.identity)
    unproven = 0.0
    if affinities == "approximate":
        unproven = max(source.find([setting], annotated).unproven for annotated, _ in run.targets)
        if unproven:
            record["unproven_pixels"] = unproven
    if has_same_result(folder, record, overwrite=overwrite, expected=run.files):
        progress(len(video.frames))
        return PropagationReport(video=video.name, folder=folder, frames=len(video.frames), skipped=True, seconds=0.0)
    features = FeatureReader(units)
    used: dict[str, None] = {}
    timings: Seconds = {}
    with explain_os_errors(f"write {folder}"), atomic_folder(folder, record) as hidden:
        run.begin(hidden, features.grid, features.frame_size)
        for number, (annotated, target) in enumerate(run.targets):
            used[source.find([setting], annotated).origin] = None
            session = TrackingSession(_TimedSource(source, timings), setting, target.encode(features.grid), memory=0)
            refined: dict[int, Any] = {}
            correct = _correction(target, features.frame_size, video, refiner, refined)
            with _computed(session, device, correct, timings) as labels:
                collect_labels(
                    run,
                    number,
                    labels,
                    features.frame_size,
                    video=video,
                    refiner=refiner,
                    refined=refined,
                    progress=frames.advance,
                    timings=timings,
                )
            frames.finish(number)
        run.write(hidden)
    return PropagationReport(
        video=video.name,
        folder=folder,
        frames=len(video.frames),
        skipped=False,
        seconds=time.monotonic() - clock,
        affinities=" and ".join(used),
        unproven=unproven,
        timings=timings,
        refined=dict(getattr(refiner, "counts", {})),
    )


def _correction(
    target: Target[Any], frame_size: tuple[int, int], video: Video, refiner: Refiner | None, refined: dict[int, Any]
) -> Correct | None:
    """Return the correction of labels by a refiner that feeds back, which also puts values into `refined`."""
    feedback: Callable[[torch.Tensor], torch.Tensor] | None = getattr(refiner, "feedback", None)
    if refiner is None or feedback is None:
        return None

    def correct(frame: int, label: torch.Tensor) -> torch.Tensor:
        value = target.decode(frame, label, frame_size)
        refined[frame] = refiner.refine(frame, partial(video.frames.read, frame), value, label)
        return feedback(label)

    return correct


def collect_labels(
    run: TaskRun,
    number: int,
    labels: Iterable[tuple[int, torch.Tensor]],
    frame_size: tuple[int, int],
    *,
    video: Video,
    refiner: Refiner | None,
    refined: dict[int, Any] | None = None,
    progress: Callable[[int], None],
    timings: Seconds | None = None,
) -> None:
    """Decode, refine and collect the soft labels of a run's target, by its number.

    Frames come in the order of `Labels`; those before the first annotation are left out unless the run tracks backward.
    `refined` has the values of frames that are refined already; they are taken out. A thread collects, and so writes,
    the values of earlier frames meanwhile. `timings` receives seconds by stage.
    """
    annotated, target = run.targets[number]
    timings = {} if timings is None else timings

    def collect(frame: int, value: Any, label: torch.Tensor) -> None:
        with timed(timings, "write"):
            run.collect(number, frame, value, label)
        progress(1)

    with Behind(_BEHIND) as later:
        for frame, label in timed_items(labels, timings, "wait for labels"):
            if frame < annotated[0] and not run.backward:
                break  # these frames come last
            if refined and frame in refined:
                value = refined.pop(frame)
            else:
                with timed(timings, "decode"):
                    value = target.decode(frame, label, frame_size)
                if refiner is not None and frame not in annotated:
                    with timed(timings, "refine"):
                        value = refiner.refine(frame, partial(video.frames.read, frame), value, label)
            with timed(timings, "wait for writing"):
                later(collect, frame, value, label)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the propagation of videos starts from; picklable until its networks are loaded.

    Attributes
    ----------
    device
        Device of the networks.
    texts
        Texts that name the targets, in place of annotations.
    masks
        Folder of the masks of texts.
    refine
        Name and options of a refiner (`get_refiner`).
    """

    device: torch.device
    texts: "TextTargets | None"
    masks: Path
    refine: str | None

    @functools.cached_property
    def make_refiner(self) -> MakeRefiner | None:
        """Function that creates a video's refiner, with its network loaded; raises as `get_refiner`."""
        return None if self.refine is None else get_refiner(self.refine, self.device)

    @functools.cached_property
    def _texts(self) -> "TextTargets | None":
        return None if self.texts is None else replace(self.texts, device=self.device)

    def open(self, cache: Cache, video: Video) -> tuple[Video, str, Refiner | None]:
        """Return a video with the masks of texts, a note about them (empty without texts), and the video's refiner."""
        note = ""
        if self._texts is not None:
            video, note = self._texts.annotate(video, self.masks)
        return video, note, None if self.make_refiner is None else self.make_refiner(cache, video)


@functools.cache
def _loaded_once(start: Start) -> Start:
    return start  # the first of equal ones, which keeps its networks


def propagate_videos(
    workers: Workers, jobs: Iterable[Mapping[str, Any]], start: Start
) -> Iterator[Propagated | TedError]:
    """Propagate a video in each task of some workers; yield results in order, and an error in place of its result.

    `jobs` are keyword arguments of `propagate_video`, without device and refiner.
    """
    tasks = ((dict(job), start, str(start.device)) for job in jobs)
    return workers.map(_propagate_one, tasks, lost=lambda error: error)


def _propagate_one(job: dict[str, Any], start: Start, device: str) -> Propagated | TedError:
    kind: type[TedError] = ConfigError
    try:
        start = _loaded_once(replace(start, device=torch.device(device)))
        video, note, refiner = start.open(job["cache"], job["video"])
        kind = TedError  # from here on, an error is the video's
        return propagate_video(**job | {"video": video}, refiner=refiner, device=start.device), video, note
    except TedError as error:  # other classes may not survive pickling
        return (kind if isinstance(error, ConfigError) else TedError)(str(error), hint=error.hint)


class _TimedSource:
    """A source of candidates that adds the seconds of its searches to timings."""

    def __init__(self, source: AffinitySource, timings: Seconds) -> None:
        self.device, self.shape = source.device, source.shape
        self._source, self._timings = source, timings

    def find(self, settings: Sequence[WeightedSettings], annotated: tuple[int, ...]) -> FoundCandidates:
        found = self._source.find(settings, annotated)
        return replace(found, steps=lambda frames: timed_items(found.steps(frames), self._timings, "search"))


def _computed(
    session: TrackingSession, device: torch.device, correct: Correct | None, timings: Seconds
) -> AbstractContextManager[Iterable[tuple[int, torch.Tensor]]]:
    """Return a session's labels; those of a GPU are computed in a thread, beside decoding and writing."""
    labels = timed_items(session.labels(correct=correct), timings, "search and label")
    return nullcontext(labels) if torch.device(device).type == "cpu" else Prefetched(labels, _AHEAD)


class PassProgress:
    """Progress of several passes, shown as the frames of one video; all passes count alike."""

    def __init__(self, frames: int, passes: int, report: Callable[[int], None]) -> None:
        self._frames, self._passes, self._report = frames, passes, report
        self._pass = self._in_pass = self._reported = 0

    def advance(self, frames: int) -> None:
        """Count frames of the current pass: with affinities if these are computed first, else with labels."""
        self._in_pass = min(self._in_pass + frames, self._frames)
        self._tell(self._pass * self._frames + self._in_pass)

    def finish(self, number: int) -> None:
        """Count all frames up to the end of a pass."""
        self._pass, self._in_pass = number + 1, 0
        self._tell(self._pass * self._frames)

    def _tell(self, done: int) -> None:
        reported = done // self._passes
        if reported > self._reported:
            self._report(reported - self._reported)
            self._reported = reported


def describe_result(units: Sequence[tuple[Unit, float]], settings: PropagationSettings) -> dict[str, Any]:
    """Describe the features and settings that a result depends on; JSON-compatible.

    A feature's noise level is included if its unit records one; it depends only on what the content hash covers.
    """
    return {
        "features": [
            {"unit": unit.spec.label, "content_hash": unit.content_hash, "weight": weight}
            | ({} if unit.spec.alpha_bar is None else {"alpha_bar": unit.spec.alpha_bar})
            for unit, weight in units
        ],
        "settings": settings.to_json(),
    }
