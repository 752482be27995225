"""Prepare clips on the host: read and resize frames, draw noise. Nothing here uses the device."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from .backbones.base import Backbone
from .clips import Clip
from .frames import FrameSource
from .noising.keyed_noise import NoiseKey
from .plan import VideoPlan
from .runtime import StageClock

#: Maximum number of threads that resize frames and draw noise.
_MOST_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class HostClip:
    """A clip in the host's memory."""

    index: int  # index in the video's list of clips
    clip: Clip  # the clip's frame indices
    pixels: torch.Tensor  # (frame, 3, height, width), float32, RGB in [-1, 1]
    image: torch.Tensor | None  # the conditioning frame, (1, 3, height, width), in the same range; None without one
    image_index: int  # index of the conditioning frame in the video, which keys the conditioning's noise
    #: (draw, latent frame, channel, y, x), float32, standard normal; None if the noising draws none.
    noise: torch.Tensor | None


class ClipReader:
    """Reads clips of one video, each frame once.

    The calling thread reads frames in order, as video decoders require. Other threads resize them and draw noise, a few
    clips ahead: by default half of the cores with a GPU, and one thread if the CPU runs the network.
    """

    def __init__(
        self,
        backbone: Backbone,
        source: FrameSource,
        plan: VideoPlan,
        latent_shape: tuple[int, ...],  # (latent frame, channel, y, x) of a clip's noise
        *,
        clock: StageClock | None = None,  # adds up the seconds of "read", "resize" and "noise"
        threads: int | None = None,
    ) -> None:
        self._backbone = backbone
        self._source = source
        self._plan = plan
        self._latent_shape = latent_shape
        self._condition_on = backbone.condition_on
        self._clock = clock or StageClock()
        # A GPU copies from page-locked memory while it computes.
        self._pin = backbone.device.type == "cuda"
        half = min(_MOST_THREADS, (os.cpu_count() or 2) // 2)
        self._threads = threads or (max(1, half) if self._pin else 1)

    def read(self, wanted: Sequence[int]) -> Iterator[HostClip]:
        """Yield clips by rising index.

        Shared frames stay in memory until no later clip needs them, so memory does not grow with the video. An error is
        raised after the preceding clips were yielded.
        """
        frames: dict[int, Future[torch.Tensor]] = {}
        started: deque[Callable[[], HostClip]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="ted-prepare") as pool:
            try:
                for index in wanted:
                    try:
                        started.append(self._start(index, frames, pool))
                    except Exception:
                        yield from (finish() for finish in started)
                        raise
                    if len(started) == self._threads:
                        yield started.popleft()()
                yield from (finish() for finish in started)
            finally:
                pool.shutdown(cancel_futures=True)

    def _start(
        self, index: int, frames: dict[int, Future[torch.Tensor]], pool: ThreadPoolExecutor
    ) -> Callable[[], HostClip]:
        """Read a clip's frames that are not in `frames` yet, and start resizing them and drawing noise.

        Returns a function that waits for the clip.
        """
        clip = self._plan.clips[index]
        noise = pool.submit(self._draw, clip)
        if self._condition_on == "video" and 0 not in frames:
            frames[0] = self._read(0, pool)
        for frame in clip.frames:
            if frame not in frames:
                frames[frame] = self._read(frame, pool)
        pixels = [frames[frame] for frame in clip.frames]
        image = {"clip": pixels[0], "video": frames.get(0), "none": None}[self._condition_on]
        for frame in [frame for frame in frames if frame <= clip.start or frame not in clip.frames]:
            if frame or self._condition_on != "video":
                del frames[frame]

        def finish() -> HostClip:
            stacked, drawn = torch.stack([future.result() for future in pixels]), noise.result()
            if self._pin:
                stacked = stacked.pin_memory()
            return HostClip(
                index=index,
                clip=clip,
                pixels=stacked,
                image=None if image is None else image.result()[None],
                image_index=0 if self._condition_on == "video" else clip.start,
                noise=drawn,
            )

        return finish

    def _read(self, frame: int, pool: ThreadPoolExecutor) -> Future[torch.Tensor]:
        with self._clock.count("read"):
            values = self._source.read(frame)

        def resize() -> torch.Tensor:
            with self._clock.count("resize"):
                return torch.from_numpy(self._backbone.to_pixels(values, self._plan.request.frame_size))

        return pool.submit(resize)

    def _draw(self, clip: Clip) -> torch.Tensor | None:
        request = self._plan.request
        key = NoiseKey(seed=request.seed, video=request.video, start=clip.start)
        with self._clock.count("noise"):
            drawn = self._plan.noising.draw(key, self._latent_shape, request.ensemble)
            return drawn if drawn is None or not self._pin else drawn.pin_memory()
