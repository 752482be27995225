"""What the host does for a frame of extraction, without a network: seconds of a processor by stage.

Run from the project's root:

    python benchmarks/host.py [--frames N]

Stages are timed by the processor time of their thread, so other work on the machine counts little. Frames are JPEGs of
480x854, read at 480x832; noise is that of pixel-space networks such as ADM, which is the largest.
"""

import argparse
import hashlib
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.clip_reader import ClipReader
from ted.extract.clips import Clip
from ted.extract.frame_size import to_pixels
from ted.extract.noising import parse_noising
from ted.extract.plan import VideoPlan
from ted.extract.runtime import StageClock
from ted.pipeline.datasets.sources import open_source
from ted.pipeline.datasets.video import Source

#: Channels of the tap that is stored; its grid is 60x104.
CHANNELS = 512
SIZE = (480, 832)


class ProcessorClock(StageClock):
    """Seconds of processor time by stage, summed over threads."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: dict[str, float] = defaultdict(float)
        self._lock_spent = threading.Lock()

    @contextmanager
    def count(self, stage: str) -> Iterator[None]:
        """Count a block."""
        start = time.thread_time()
        yield
        with self._lock_spent:
            self.spent[stage] += time.thread_time() - start


def measure(frames: int, draws: int, threads: int) -> tuple[dict[str, float], str]:
    """Return milliseconds of processor time a frame by stage, and a digest of all clips."""
    with tempfile.TemporaryDirectory() as name:
        texture = np.random.default_rng(0).integers(0, 256, (60, 107, 3), dtype=np.uint8)
        picture = cv2.resize(texture, (854, 480), interpolation=cv2.INTER_CUBIC)
        for number in range(frames):
            cv2.imwrite(str(Path(name) / f"{number:05d}.jpg"), np.roll(picture, number, axis=1))
        (video,) = open_source(Source(path=Path(name)))
        stub = SimpleNamespace(condition_on="none", device=torch.device("cpu"), to_pixels=to_pixels)
        request = SimpleNamespace(seed=0, video="clip", ensemble=draws, frame_size=SIZE)
        plan = SimpleNamespace(
            clips=[Clip(frames=(number,), keep=range(1)) for number in range(frames)],
            request=request,
            noising=parse_noising("random"),
        )
        clock, digest = ProcessorClock(), hashlib.sha256()
        arguments: Any = cast(Backbone, stub), video.frames, cast(VideoPlan, plan), (1, 3, *SIZE)
        for clip in ClipReader(*arguments, clock=clock, threads=threads).read(range(frames)):
            with clock.count("join"):
                digest.update(clip.pixels.numpy()[..., ::16, ::16].tobytes())
                assert clip.noise is not None
                digest.update(clip.noise.numpy()[..., ::16, ::16].tobytes())
        values = np.random.default_rng(0).standard_normal((60, 104, CHANNELS)).astype(np.float16)
        with clock.count("hash features"):
            for _ in range(frames):
                hashlib.sha256(values.data).hexdigest()
    return {stage: 1e3 * spent / frames for stage, spent in clock.spent.items()}, digest.hexdigest()[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure(2, 1, 1)
    print("draws  threads  ms of a processor a frame                      in all  frames/s a thread  digest")
    for draws in (1, 8):
        for threads in (1, 4):
            spent, digest = measure(options.frames, draws, threads)
            stages = ", ".join(f"{stage} {value:.1f}" for stage, value in spent.items())
            total = sum(spent.values())
            print(f"{draws:5}  {threads:7}  {stages}  {total:6.1f}  {1e3 / total:17.1f}  {digest}")


if __name__ == "__main__":
    main()
