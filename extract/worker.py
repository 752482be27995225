"""Extracting videos: frames in, clips through the UNet, features to the cache, each step while the others go on."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import torch

from ..store import Cache
from ..store.errors import ClaimedError, ConfigError, TedError
from .backbones.base import Backbone
from .batching import fit_batch_size
from .clip_reader import ClipReader, HostClip
from .features import latent_shape
from .frames import FrameSource
from .plan import VideoPlan, default_batch_size
from .prefetch import Prefetched
from .runtime import is_out_of_memory, use_reproducible_kernels
from .sink import FeatureSink
from .video_job import ExtractionReport, VideoJob

__all__ = ["ExtractionReport", "VideoTask", "extract_video", "extract_videos"]

#: Frames that are decoded, and their noise drawn, ahead of the device.
_FRAMES_AHEAD = 16


@dataclass(frozen=True, kw_only=True)
class VideoTask:
    """One video to extract with a backbone.

    Attributes
    ----------
    name
        For progress.
    source
        Its frames.
    plan
        Gives what to compute, by `plan_video`; called in a thread, when the video's turn comes.
    """

    name: str
    source: FrameSource
    plan: Callable[[], VideoPlan]


#: A video, and what was done or why it could not be.
Outcome = tuple[VideoTask, ExtractionReport | TedError]

#: Called with a video's name and number of frames, returns what is called with numbers of frames that are through.
Progress = Callable[[str, int], Callable[[int], None]]


def extract_video(
    cache: Cache,
    backbone: Backbone,
    source: FrameSource,
    plan: VideoPlan,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> ExtractionReport:
    """Write all units of one plan, resuming what an interrupted run left; see `extract_videos`.

    Parameters
    ----------
    cache
        Where to.
    backbone, source, plan
        What to compute, from `plan_video` with the same backbone and source.
    overwrite
        Compute complete units again, too.
    progress
        Called with numbers of frames that are through.
    """
    task = VideoTask(name=plan.request.video, source=source, plan=lambda: plan)
    ((_, result),) = extract_videos(cache, backbone, [task], overwrite=overwrite, progress=lambda *_: progress)
    if isinstance(result, TedError):
        raise result
    return result


def extract_videos(
    cache: Cache,
    backbone: Backbone,
    tasks: Iterable[VideoTask],
    *,
    overwrite: bool = False,
    adapt: bool = False,
    progress: Progress = lambda name, frames: lambda done: None,
) -> Iterator[Outcome]:
    """Write the units of many videos; decoding, the UNet and writing overlap, also from one video to the next.

    Complete units are left alone; of units that look damaged (a promised file is absent or of another size) only what
    is damaged is computed again. A video that fails stops no other. On the same device, with the same batch size and
    number of threads, features are the same bytes however often the work was interrupted.

    Parameters
    ----------
    cache
        Where to.
    backbone
        With what.
    tasks
        The videos; taken one by one, in a thread, shortly before their turn.
    overwrite
        Compute complete units again, too.
    adapt
        Fit the batch size to the memory of the device, and halve it where that was too much: the video goes on from
        what is written.
    progress
        Called with a video's name and number of frames, returns what is called with frames that are through.

    Yields
    ------
    (VideoTask, ExtractionReport or TedError)
        As videos are completed: what was done, or why it could not be.

    Raises
    ------
    ConfigError
        From a task's plan: an option that is wrong is wrong for every video.
    """
    use_reproducible_kernels()
    with _Extraction(cache, backbone, overwrite=overwrite, adapt=adapt, progress=progress) as extraction:
        yield from extraction.run(tasks)
        while retries := extraction.take_retries():
            yield from extraction.run(retries)


@dataclass(frozen=True, kw_only=True)
class _Event:
    """What the reading thread has for the computing one: a clip, an error, or, without both, the end of a video.

    `job` is None for a video that could not be begun.
    """

    task: VideoTask
    job: VideoJob | None
    clip: HostClip | None = None
    error: TedError | None = None
    out_of_memory: bool = False


class _Extraction:
    """The moving parts: a thread that reads, this one that computes, some that write."""

    def __init__(self, cache: Cache, backbone: Backbone, *, overwrite: bool, adapt: bool, progress: Progress) -> None:
        self._cache = cache
        self._backbone = backbone
        self._overwrite = overwrite
        self._adapt = adapt
        self._progress = progress
        self._sink = FeatureSink()
        self._fitted: tuple[int, int] | None = None  # items that fit in a pass, and pixels of the frames measured
        self._at_most: int | None = None  # after memory ran out
        self._begun: set[int] = set()  # tasks whose complete units were discarded already
        self._noise_shapes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._open: set[VideoJob] = set()
        self._retries: list[VideoTask] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        for job in self._open:
            job.close()

    def take_retries(self) -> list[VideoTask]:
        """Return the videos that ran out of memory, to be tried with smaller batches."""
        retries, self._retries = self._retries, []
        return retries

    def run(self, tasks: Iterable[VideoTask]) -> Iterator[Outcome]:
        """Extract videos, yielding each as it is completed."""
        finishing: dict[Future[ExtractionReport], tuple[VideoTask, VideoJob]] = {}
        began: dict[VideoJob, tuple[Callable[[int], None], dict[str, float]]] = {}
        ahead = max(2, _FRAMES_AHEAD // self._backbone.clip_length)
        with Prefetched(self._read(tasks), ahead) as stream:
            for event in stream:
                task, job, error = event.task, event.job, event.error
                if job is None:
                    if error is not None:
                        if not isinstance(error, ClaimedError):
                            yield from self._completed(finishing, list(finishing))  # who stops here, knows of these
                        yield task, error
                    continue
                if job.abandoned:
                    continue
                waits = {"frames": stream.waited, "disk": self._sink.waited}
                if job not in began:
                    began[job] = self._progress(task.name, len(task.source)), waits
                    began[job][0](job.frames_settled)
                advance, before = began[job]
                if event.out_of_memory:
                    error = self._out_of_memory(task, job)
                elif event.clip is not None:
                    error = self._compute(task, job, event.clip, advance)
                if error is not None:
                    self._abandon(job)
                    yield from self._completed(finishing, list(finishing))
                    yield task, error
                elif event.clip is None and not job.abandoned:
                    waited = {what: waits[what] - before[what] for what in waits}
                    finishing[self._sink.submit(partial(job.finish, waited))] = task, job
                if job.abandoned or event.clip is None:
                    del began[job]  # which holds memory of the device
                yield from self._completed(finishing, [future for future in finishing if future.done()])
        yield from self._completed(finishing, list(finishing))

    def _read(self, tasks: Iterable[VideoTask]) -> Iterator[_Event]:
        """Begin videos and read their clips, in the reading thread."""
        for task in tasks:
            try:
                plan = self._sized(task.plan())
                overwrite = self._overwrite and id(task) not in self._begun
                job = VideoJob(self._cache, self._backbone, plan, self._sink, overwrite=overwrite)
            except ConfigError:
                raise
            except TedError as error:
                yield _Event(task=task, job=None, error=error)
                continue
            self._open.add(job)
            self._begun.add(id(task))
            event = _Event(task=task, job=job)
            try:
                for clip in self._reader(task, plan).read(plan.clips, job.clips):
                    if job.abandoned:
                        break
                    yield dataclasses.replace(event, clip=clip)
            except TedError as error:
                event = dataclasses.replace(event, error=error)
            except (RuntimeError, MemoryError) as error:  # the noise's shape takes the device, beside a pass
                if not is_out_of_memory(error):
                    raise
                event = dataclasses.replace(event, out_of_memory=True)
            yield event

    def _reader(self, task: VideoTask, plan: VideoPlan) -> ClipReader:
        request = plan.request
        if request.frame_size not in self._noise_shapes:
            self._noise_shapes[request.frame_size] = latent_shape(self._backbone, request.frame_size)
        return ClipReader(
            task.source,
            request.frame_size,
            noise_shape=self._noise_shapes[request.frame_size],
            video=request.video,
            seed=request.seed,
            draws=request.ensemble if self._backbone.takes_noise else 0,
            condition_on=self._backbone.condition_on,
            pin=self._backbone.device.type == "cuda",
        )

    def _sized(self, plan: VideoPlan) -> VideoPlan:
        """Fit a plan's batch size to the memory, if that was asked for."""
        if not self._adapt or not plan.specs:
            return plan
        frame_size = plan.request.frame_size
        pixels = math.prod(frame_size)
        if self._fitted is None:
            taps = list(dict.fromkeys(tap for _, tap in plan.specs))
            fitted = fit_batch_size(self._backbone, frame_size, taps)
            self._fitted = (fitted or default_batch_size(self._backbone)), pixels
        # One measurement serves videos of all sizes: memory goes with the pixels.
        size = max(1, self._fitted[0] * self._fitted[1] // pixels)
        return plan.with_batch_size(min(size, self._at_most or size))

    def _compute(
        self, task: VideoTask, job: VideoJob, clip: HostClip, advance: Callable[[int], None]
    ) -> TedError | None:
        """Give a clip to its job; return what went wrong."""
        try:
            job.add(clip, advance)
            return None
        except TedError as error:
            return error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Here the error, with the frames that hold the pass's tensors, is gone.
        return self._out_of_memory(task, job)

    def _out_of_memory(self, task: VideoTask, job: VideoJob) -> TedError | None:
        """Give a video up, to be tried again with smaller batches; without those, return what went wrong."""
        size = job.plan.passes.size
        self._abandon(job)
        if self._adapt and size > 1:
            self._at_most = size // 2
            self._retries.append(task)
            return None
        return TedError(
            f"out of memory with {size} in a batch: try --batch-size auto, a smaller --frame-size, or --dtype float16"
        )

    def _abandon(self, job: VideoJob) -> None:
        job.abandon()
        self._open.discard(job)
        if self._backbone.device.type == "cuda":
            torch.cuda.empty_cache()

    def _completed(
        self,
        finishing: dict[Future[ExtractionReport], tuple[VideoTask, VideoJob]],
        futures: Iterable[Future[ExtractionReport]],
    ) -> Iterator[Outcome]:
        """Yield what became of videos that wait for their last writes."""
        for future in futures:
            task, job = finishing.pop(future)
            try:
                outcome: ExtractionReport | TedError = future.result()
            except TedError as error:
                outcome = error
            self._open.discard(job)
            yield task, outcome
