"""Extraction of one video: its claimed units, and the missing passes."""

import contextlib
import datetime
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from ..store import Cache, UnitSpec, UnitWriter, tidy_unit
from ..store.errors import CacheError, TedError
from .backbones.base import Backbone
from .clip_reader import HostClip
from .features import Averages, ClipEncoder, DeviceClip, run_pass
from .plan import VideoPlan
from .runtime import StageClock, describe_run
from .sink import FeatureSink, VideoSink


@dataclass(frozen=True, kw_only=True)
class ExtractionReport:
    """Summary of the extraction of one video.

    Attributes
    ----------
    written, skipped
        Units that were written or finished, and units that were complete before.
    frames_computed
        Number of frames whose features were computed and written.
    batch_size
        Number of items (clips; for an image backbone, frames) in a pass.
    seconds
        Wall time from opening the units to completing them.
    waited
        Idle seconds, waiting for ``"frames"`` or for the ``"disk"``.
    stages
        Seconds of work by stage: ``"read"``, ``"resize"``, ``"noise"``, ``"encode"``, ``"passes"`` (on a GPU, only
        launching them), ``"transfer"`` (features to the host, including the wait for the GPU) and ``"write"``. Stages
        overlap.
    """

    written: tuple[UnitSpec, ...]
    skipped: tuple[UnitSpec, ...]
    batch_size: int
    frames_computed: int = 0
    seconds: float = 0.0
    waited: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)


class VideoJob:
    """Compute the missing features of one video, clip by clip, and complete its units.

    The constructor claims the units that are not complete; with `overwrite`, all of them. Intact chunks of damaged
    units are kept. It raises ClaimedError when another process writes one of the units; no unit is claimed then.
    """

    def __init__(
        self, cache: Cache, backbone: Backbone, plan: VideoPlan, sink: FeatureSink, *, overwrite: bool
    ) -> None:
        self.plan = plan
        self.abandoned = False  # whether `abandon` was called
        self.clock = StageClock()
        self._backbone = backbone
        self._started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._clock = time.monotonic()
        self._claims = ExitStack()
        self._writers: dict[tuple[int, str], UnitWriter] = {}
        try:
            # All jobs claim units in the same order, to avoid deadlocks.
            for key in sorted(plan.specs, key=lambda key: plan.specs[key].folder(cache.root)):
                writer = _claim_unit(cache, plan.specs[key], self._claims, overwrite=overwrite)
                if writer is not None:
                    self._writers[key] = writer
        except BaseException:
            self._claims.close()
            raise
        self._skipped = tuple(spec for key, spec in plan.specs.items() if key not in self._writers)
        last = {frame: index for index, clip in enumerate(plan.clips) for frame in clip.kept_frames}
        self._last_frames = Counter(last.values())
        frames = range(plan.frame_count)
        missing = {key: frozenset(frames) - writer.done for key, writer in self._writers.items()}
        self._wanted = {
            index: keys
            for index, clip in enumerate(plan.clips)
            if (keys := {key for key, lacking in missing.items() if lacking.intersection(clip.kept_frames)})
        }
        wanted = {(index, timestep) for index, keys in self._wanted.items() for timestep, _ in keys}
        self._passes = deque(plan.passes.needed(wanted))
        #: Indices of the clips to read, rising.
        self.clips = sorted({item.clip for number in self._passes for item in plan.passes.items(number)})
        #: Number of frames that were finished before.
        self.frames_settled = len(frames) - self._frames(self._wanted)
        self._taps = list(dict.fromkeys(tap for _, tap in self._writers))
        self._encoder = ClipEncoder(backbone, plan)
        self._averages = Averages(plan.clips, plan.request.ensemble, self._wanted, backbone.latent_of_frame)
        self._sink = VideoSink(sink, self._writers, missing, self.clock)
        self._loaded: dict[int, DeviceClip] = {}

    def add(self, host: HostClip, advance: Callable[[int], None]) -> None:
        """Encode the next of `clips` and run the passes that it makes possible.

        `advance` is called with the number of frames just finished.
        """
        with self.clock.count("encode"):
            self._loaded[host.index] = self._encoder.encode(host)
        passes = self.plan.passes
        while self._passes and passes.items(self._passes[0])[-1].clip <= host.index:
            self._sink.check()
            number = self._passes[0]
            items = passes.items(number)
            with self.clock.count("passes"):
                outputs = run_pass(self._backbone, items, self._loaded, self._taps)
            for features in self._averages.add(items[: passes.real(number)], outputs):
                self._sink.deliver(features)
            self._passes.popleft()
            needed_from = passes.items(self._passes[0])[0].clip if self._passes else len(self.plan.clips)
            through = [index for index in self._loaded if index < needed_from]
            for index in through:
                del self._loaded[index]
            advance(self._frames(self._wanted.keys() & through))

    def finish(self, waited: Mapping[str, float]) -> ExtractionReport:
        """Wait for the disk, complete the units and release the claims; `waited` are idle seconds by reason."""
        try:
            self._sink.settle()
            self._sink.check()
            frames = self._frames(self._wanted)
            seconds = time.monotonic() - self._clock
            run = describe_run(
                self._backbone,
                batch_size=self.plan.passes.size,
                started=self._started,
                seconds=seconds,
                frames=frames,
                waited=waited,
                frame_times=self.plan.frame_times,
            )
            for writer in self._writers.values():
                writer.finish(run)
            return ExtractionReport(
                written=tuple(writer.spec for writer in self._writers.values()),
                skipped=self._skipped,
                frames_computed=frames,
                batch_size=self.plan.passes.size,
                seconds=seconds,
                waited=waited,
                stages=dict(self.clock.seconds),
            )
        finally:
            self.close()

    def abandon(self) -> None:
        """Abandon the video: finish pending writes, and leave the units incomplete."""
        self.abandoned = True
        self._loaded.clear()
        self._sink.settle()
        self.close()

    def close(self) -> None:
        """Commit written frames to the journals and release the claims."""
        for writer in self._writers.values():
            with contextlib.suppress(TedError):  # the video's error, such as a full disk, is reported already
                writer.commit()
        self._claims.close()

    def _frames(self, clips: Iterable[int]) -> int:
        """Return the number of frames whose last clip is in `clips`."""
        return sum(self._last_frames[index] for index in clips)


def _claim_unit(cache: Cache, spec: UnitSpec, claims: ExitStack, *, overwrite: bool) -> UnitWriter | None:
    """Return the entered writer of a unit; None for a complete unit. Intact chunks of a damaged unit are kept."""
    if not overwrite and cache.state(spec) == "complete":
        tidy_unit(spec.folder(cache.root))
        return None
    try:
        return claims.enter_context(cache.writer(spec, overwrite=overwrite, repair=True))
    except CacheError:
        if overwrite or cache.state(spec) != "complete":
            raise
        return None  # another process has completed it
