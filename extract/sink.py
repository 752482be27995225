"""Write features to units in threads, while the next features are computed."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from ..store import UnitWriter
from .features import Features
from .runtime import StageClock

R = TypeVar("R")

#: Minimum number of frames between commits of a unit; a killed job computes at most these again.
_FRAMES_A_COMMIT = 8


class FeatureSink:
    """A pool of writing threads with a bounded queue, of at most `most_bytes` or one delivery.

    Each frame is one task, so that copying, hashing and syncing of several frames overlap.
    """

    def __init__(self, *, threads: int = 4, most_bytes: int = 1 << 30) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ted-write")
        self._most_bytes = most_bytes
        self._bytes = 0
        self._room = threading.Condition()
        self.waited = 0.0  # seconds that deliveries waited for space in the queue

    def close(self) -> None:
        """Write everything in the queue, also after an error, since it is computed already."""
        self._pool.shutdown()

    def submit(self, task: Callable[[], R]) -> "Future[R]":
        """Run a task in one of the threads, after all earlier tasks have started."""
        return self._pool.submit(task)

    def reserve(self, size: int) -> None:
        """Wait until `size` bytes fit into the queue, and count them."""
        clock = time.monotonic()
        with self._room:
            self._room.wait_for(lambda: not self._bytes or self._bytes + size <= self._most_bytes)
            self._bytes += size
        self.waited += time.monotonic() - clock

    def release(self, size: int) -> None:
        """Free `size` bytes of the queue."""
        with self._room:
            self._bytes -= size
            self._room.notify_all()


class VideoSink:
    """Writer of one video's features into its units, whose entered writers are given by (timestep, tap)."""

    def __init__(
        self,
        sink: FeatureSink,
        writers: Mapping[tuple[int, str], UnitWriter],
        missing: Mapping[tuple[int, str], Collection[int]],  # indices of frames; others are not written again
        clock: StageClock | None = None,  # sums the seconds of "transfer" and "write"
    ) -> None:
        self._sink = sink
        self._clock = clock or StageClock()
        self._writers = writers
        self._missing = missing
        self._tasks: list[Future[None]] = []
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise the first error of a writing thread, if there was one."""
        if self._error is not None:
            raise self._error

    def deliver(self, features: Features) -> None:
        """Queue the features of some frames; wait for space in the queue, but not until they are written."""
        key = features.timestep, features.tap
        missing = self._missing[key]
        chosen = [(position, frame) for position, frame in enumerate(features.frames) if frame in missing]
        if not chosen:
            return
        self.check()
        self._tasks = [task for task in self._tasks if not task.done()]
        size = 2 * features.values[0].numel()
        self._sink.reserve(size * len(features.frames))
        self._sink.release(size * (len(features.frames) - len(chosen)))
        try:
            host, arrived = _to_host(features.values)
        except BaseException:  # out of device memory or page-locked memory
            self._sink.release(size * len(chosen))
            raise
        for position, frame in chosen:
            self._tasks.append(
                self._sink.submit(self._write_task(self._writers[key], frame, host[position], arrived, size))
            )

    def settle(self) -> None:
        """Wait until all deliveries are written or have failed."""
        wait(self._tasks)
        self._tasks = []

    def _write_task(
        self, writer: UnitWriter, frame: int, values: torch.Tensor, arrived: "torch.cuda.Event | None", size: int
    ) -> Callable[[], None]:
        def task() -> None:
            try:
                if self._error is None:
                    if arrived is not None:
                        with self._clock.count("transfer"):
                            arrived.synchronize()
                    with self._clock.count("write"):
                        writer.write(frame, values.numpy())
                        if writer.pending >= _FRAMES_A_COMMIT:
                            writer.commit()
            except BaseException as error:  # `check` raises it in the computing thread
                self._error = self._error or error
            finally:
                self._sink.release(size)

        return task


def _to_host(values: torch.Tensor) -> "tuple[torch.Tensor, torch.cuda.Event | None]":
    """Start copying (frame, channel, y, x) to the host as (frame, y, x, channel), float16.

    The event signals the end of the copy; None if the copy is finished.
    """
    # Convert to half precision before the transfer, to halve the bytes. The writer rejects values that overflow.
    half = values.to(torch.float16).permute(0, 2, 3, 1).contiguous()
    if half.device.type != "cuda":
        return half, None
    host = torch.empty(half.shape, dtype=half.dtype, pin_memory=True)
    host.copy_(half, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(values.device))
    return host, arrived
