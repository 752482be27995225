"""Features on their way to the disk: from the device to the host and into units, while the next are computed."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from ..store import UnitWriter
from .features import Features

__all__ = ["FeatureSink", "VideoSink"]

R = TypeVar("R")

#: Frames of a unit that are entered in its journal together, at least: what a killed job computes again.
_FRAMES_A_COMMIT = 8


class FeatureSink:
    """Threads that write, with a bound on what waits for them.

    Parameters
    ----------
    threads
        Threads that write. A frame is one task: copying, hashing and syncing of several frames overlap.
    most_bytes
        Features on their way, at most: who has more waits. One delivery is accepted whatever its size.

    Attributes
    ----------
    waited
        Seconds that deliveries have had to wait for room.
    """

    def __init__(self, *, threads: int = 4, most_bytes: int = 1 << 30) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ted-write")
        self._most_bytes = most_bytes
        self._bytes = 0
        self._room = threading.Condition()
        self.waited = 0.0

    def close(self) -> None:
        """Write what is on its way, also after an error: it was computed, and need not be again."""
        self._pool.shutdown()

    def submit(self, task: Callable[[], R]) -> "Future[R]":
        """Run something in one of the threads, after all that was submitted before has begun."""
        return self._pool.submit(task)

    def reserve(self, size: int) -> None:
        """Wait until so many bytes fit in, and count them."""
        clock = time.monotonic()
        with self._room:
            self._room.wait_for(lambda: not self._bytes or self._bytes + size <= self._most_bytes)
            self._bytes += size
        self.waited += time.monotonic() - clock

    def release(self, size: int) -> None:
        """Give room back."""
        with self._room:
            self._bytes -= size
            self._room.notify_all()


class VideoSink:
    """Writes the features of one video into its units.

    Parameters
    ----------
    sink
        The threads.
    writers
        The entered writers of the units, by (timestep, tap).
    missing
        Frames that each of them lacks; others are not written again.
    """

    def __init__(
        self,
        sink: FeatureSink,
        writers: Mapping[tuple[int, str], UnitWriter],
        missing: Mapping[tuple[int, str], Collection[int]],
    ) -> None:
        self._sink = sink
        self._writers = writers
        self._missing = missing
        self._tasks: list[Future[None]] = []
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise the first error of a thread, if there was one: what follows would be computed in vain."""
        if self._error is not None:
            raise self._error

    def deliver(self, features: Features) -> None:
        """Take the features of some frames; returns as soon as there is room for them, before they are written."""
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
        except BaseException:  # no memory, on the device or to be locked on the host
            self._sink.release(size * len(chosen))
            raise
        for position, frame in chosen:
            self._tasks.append(
                self._sink.submit(self._write_task(self._writers[key], frame, host[position], arrived, size))
            )

    def settle(self) -> None:
        """Wait until all that was delivered is written or has failed."""
        wait(self._tasks)
        self._tasks = []

    def _write_task(
        self, writer: UnitWriter, frame: int, values: torch.Tensor, arrived: "torch.cuda.Event | None", size: int
    ) -> Callable[[], None]:
        def task() -> None:
            try:
                if self._error is None:
                    if arrived is not None:
                        arrived.synchronize()
                    writer.write(frame, values.numpy())
                    if writer.pending >= _FRAMES_A_COMMIT:
                        writer.commit()
            except BaseException as error:  # raised by `check`, in the thread that computes
                self._error = self._error or error
            finally:
                self._sink.release(size)

        return task


def _to_host(values: torch.Tensor) -> "tuple[torch.Tensor, torch.cuda.Event | None]":
    """Begin to copy (frame, channel, y, x) to the host as (frame, y, x, channel); the event tells when it is there."""
    # Half precision before the transfer: half the bytes. A value too large for it becomes infinite, which the writer
    # refuses.
    half = values.to(torch.float16).permute(0, 2, 3, 1).contiguous()
    if half.device.type != "cuda":
        return half, None
    host = torch.empty(half.shape, dtype=half.dtype, pin_memory=True)
    host.copy_(half, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(values.device))
    return host, arrived
