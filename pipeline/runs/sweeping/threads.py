"""Tasks on threads of this process: scoring spends its time in libraries that let other threads run."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

__all__ = ["Threads", "processors"]

T = TypeVar("T")


class Threads:
    """Run tasks on so many threads, each of which computes on one processor; see `ted.propagate.cluster.Workers`.

    A tenth of a second of numerical work on threads that torch spreads over all processors is slower than one such
    task a processor.

    Parameters
    ----------
    count
        How many tasks run at once.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pending: deque[Future[Any]] = deque()

    def rest(self) -> None:
        """Wait until no task runs: what is computed on all processors meanwhile would be slow, and slow them down."""
        wait(self._pending)

    def map(
        self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], *, ahead: int | None = None
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task, and yield the results in their order; see `Workers.map`."""
        most = max(1, 2 * self.count + 2 if ahead is None else ahead)
        pending = self._pending
        numbered = iter(tasks)
        pool = ThreadPoolExecutor(self.count, "sweep", lambda: torch.set_num_threads(1))
        try:
            more = True
            while more or pending:
                while more and len(pending) < most:
                    task = next(numbered, None)
                    more = task is not None
                    if task is not None:
                        pending.append(pool.submit(function, *task))
                if pending:
                    yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(torch.get_num_threads())  # of this thread, for those that are started later


def processors() -> int:
    """Return the processors that this process may use: of a batch job, often fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
