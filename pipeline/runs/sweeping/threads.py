"""Threads that run tasks: scoring spends its time in libraries that release the interpreter's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class Threads:
    """An executor (`ted.propagate.cluster.Workers`) that runs tasks on threads, each on one processor.

    Many short computations run faster with one task per processor than with each spread over all processors.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pending: deque[Future[Any]] = deque()

    def rest(self) -> None:
        """Wait until no task runs, before something is computed on all processors."""
        wait(self._pending)

    def map(
        self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], *, ahead: int | None = None
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task; see `Workers.map`."""
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
