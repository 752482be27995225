"""Extract videos; reading, computing and writing overlap, also across videos."""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch

from ..store import Cache
from ..store.errors import ClaimedError, ConfigError, Hint, TedError
from .backbones.base import Backbone
from .batching import BatchSizes
from .clip_reader import ClipReader, HostClip
from .features import latent_shape
from .frames import FrameSource
from .plan import VideoPlan
from .prefetch import Prefetched
from .runtime import StageClock, is_out_of_memory, use_reproducible_kernels
from .sink import FeatureSink
from .video_job import ExtractionReport, VideoJob

__all__ = ["ExtractionReport", "Progress", "VideoTask", "clips_ahead", "extract_video", "extract_videos"]

#: Number of frames to read, and to draw noise for, ahead of the device.
_FRAMES_AHEAD = 16


def clips_ahead(backbone: Backbone) -> int:
    """Return the number of clips that are read ahead of the device."""
    return max(2, _FRAMES_AHEAD // backbone.clip_length)


@dataclass(frozen=True, kw_only=True)
class VideoTask:
    """One video to extract with a backbone.

    Attributes
    ----------
    name
        Name for progress reports.
    source
        The frames.
    plan
        Function that returns the video's plan (see `plan_video`); called in a thread shortly before the video starts.
    """

    name: str
    source: FrameSource
    plan: Callable[[], VideoPlan]


#: A video, with the report of its extraction or the error that stopped it.
Outcome = tuple[VideoTask, ExtractionReport | TedError]

#: Function of a video's name and number of frames that returns a callback for the number of frames just finished.
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
    """Write all units of one plan, resuming an interrupted run; see `extract_videos`.

    Parameters
    ----------
    cache
        The cache to write to.
    backbone, source, plan
        The plan, from `plan_video` with the same backbone and source.
    overwrite
        Compute complete units again, too.
    progress
        Called with the number of frames just finished.
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
    """Write the units of many videos.

    Complete units are skipped. In units that look damaged (a file is absent or has a wrong size) only the damaged
    frames are computed again. A failing video does not stop the others. With the same device, batch size and number of
    threads, interruptions do not change a byte of the features.

    Parameters
    ----------
    cache
        The cache to write to.
    backbone
        The backbone.
    tasks
        The videos; a thread takes them one by one, shortly before they start.
    overwrite
        Compute complete units again, too.
    adapt
        Fit the batch size to the device's memory, and halve it if memory runs out; the video then resumes.
    progress
        See `Progress`.

    Yields
    ------
    (VideoTask, ExtractionReport or TedError)
        Each video with its result, when it is completed or fails.

    Raises
    ------
    ConfigError
        From a task's plan, since a wrong option affects every video.
    """
    use_reproducible_kernels()
    with _Extraction(cache, backbone, overwrite=overwrite, adapt=adapt, progress=progress) as extraction:
        yield from extraction.run(tasks)
        while retries := extraction.take_retries():
            yield from extraction.run(retries)


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A message of the reading thread: a clip, an error, or (without both) the end of a video.

    `job` is None for a video that could not be started.
    """

    task: VideoTask
    job: VideoJob | None
    clip: HostClip | None = None
    error: TedError | None = None
    out_of_memory: bool = False


class _Extraction:
    """One reading thread, the computing thread (the caller's), and the sink's writing threads."""

    def __init__(self, cache: Cache, backbone: Backbone, *, overwrite: bool, adapt: bool, progress: Progress) -> None:
        self._cache = cache
        self._backbone = backbone
        self._overwrite = overwrite
        self._adapt = adapt
        self._progress = progress
        self._sink = FeatureSink()
        self._sizes = BatchSizes(backbone)
        self._at_most: int | None = None  # maximum number of items in a pass, after memory ran out
        self._begun: set[int] = set()  # tasks whose complete units were already discarded
        self._latent_shapes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._open: set[VideoJob] = set()
        self._retries: list[VideoTask] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()
        for job in self._open:
            job.close()

    def take_retries(self) -> list[VideoTask]:
        """Return, and forget, the videos that ran out of memory and need smaller batches."""
        retries, self._retries = self._retries, []
        return retries

    def run(self, tasks: Iterable[VideoTask]) -> Iterator[Outcome]:
        """Extract videos, yielding each as it is completed."""
        finishing: dict[Future[ExtractionReport], tuple[VideoTask, VideoJob]] = {}
        began: dict[VideoJob, tuple[Callable[[int], None], dict[str, float]]] = {}
        with Prefetched(self._read(tasks), clips_ahead(self._backbone)) as stream:
            for event in stream:
                task, job, error = event.task, event.job, event.error
                if job is None:
                    if error is not None:
                        if not isinstance(error, ClaimedError):
                            # First report the preceding videos, because a caller may stop at this error.
                            yield from self._completed(finishing, list(finishing))
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
                    del began[job]  # frees the device's memory
                yield from self._completed(finishing, [future for future in finishing if future.done()])
        yield from self._completed(finishing, list(finishing))

    def _read(self, tasks: Iterable[VideoTask]) -> Generator[_Event, None, None]:
        """Start videos and read their clips, in the reading thread."""
        for task in tasks:
            try:
                plan = self._sized(task.plan())
                overwrite = self._overwrite and id(task) not in self._begun
                job = VideoJob(self._cache, self._backbone, plan, self._sink, overwrite=overwrite)
            except ConfigError:
                raise
            except Exception as error:
                yield _Event(task=task, job=None, error=_as_video_error(error))
                continue
            self._open.add(job)
            self._begun.add(id(task))
            event = _Event(task=task, job=job)
            try:
                for clip in self._reader(task, plan, job.clock).read(job.clips):
                    if job.abandoned:
                        break
                    yield dataclasses.replace(event, clip=clip)
            except Exception as error:
                if is_out_of_memory(error):  # measuring the noise's shape uses the device, at the same time as a pass
                    event = dataclasses.replace(event, out_of_memory=True)
                else:
                    event = dataclasses.replace(event, error=_as_video_error(error))
            yield event

    def _reader(self, task: VideoTask, plan: VideoPlan, clock: StageClock) -> ClipReader:
        size = plan.request.frame_size
        if size not in self._latent_shapes:
            self._latent_shapes[size] = latent_shape(self._backbone, size)
        return ClipReader(self._backbone, task.source, plan, self._latent_shapes[size], clock=clock)

    def _sized(self, plan: VideoPlan) -> VideoPlan:
        """Fit a plan's batch size to the memory, if asked to."""
        if not self._adapt or not plan.specs:
            return plan
        return self._sizes.fit(plan, self._at_most)

    def _compute(
        self, task: VideoTask, job: VideoJob, clip: HostClip, advance: Callable[[int], None]
    ) -> TedError | None:
        """Pass a clip to its job; return the error, if any."""
        try:
            job.add(clip, advance)
            return None
        except TedError as error:
            return error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # After the except clause, the error's traceback no longer references the tensors of the pass.
        return self._out_of_memory(task, job)

    def _out_of_memory(self, task: VideoTask, job: VideoJob) -> TedError | None:
        """Abandon a video and retry it with smaller batches; return an error if the batch cannot be smaller."""
        size = job.plan.passes.size
        self._abandon(job)
        if self._adapt and size > 1:
            self._at_most = size // 2
            self._retries.append(task)
            return None
        return TedError(f"out of memory with {size} in a batch", hint=Hint("use-less-memory"))

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
        """Yield the outcomes of videos whose last writes are pending."""
        for future in futures:
            task, job = finishing.pop(future)
            try:
                outcome: ExtractionReport | TedError = future.result()
            except TedError as error:
                outcome = error
            self._open.discard(job)
            yield task, outcome


def _as_video_error(error: Exception) -> TedError:
    """Convert any error to that of one video: errors of decoders or file systems stop the video, not the run."""
    if isinstance(error, TedError):
        return error
    failure = TedError(f"stopped by an unexpected error: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
