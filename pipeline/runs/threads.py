"""Threads that run tasks: scoring spends its time in libraries that release the interpreter's lock, or on a GPU."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Self, TypeVar

import torch

from ...store.errors import TedError

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
        self,
        function: Callable[..., T],
        tasks: Iterable[tuple[Any, ...]],
        *,
        ahead: int | None = None,
        lost: Callable[[TedError], T] | None = None,
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task; see `Workers.map`."""
        del lost  # threads do not die
        most = max(1, 2 * self.count + 2 if ahead is None else ahead)
        pending = self._pending
        numbered = iter(tasks)
        pool = ThreadPoolExecutor(self.count, "ted-task", lambda: torch.set_num_threads(1))
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


class Behind:
    """A thread that calls functions in the order in which they are given; use as a context manager.

    At most `most` calls are behind the caller. An error is raised by a later call, or on leaving the context, which
    waits for all calls; leaving it with an error drops those that have not begun.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(1, "ted-behind")
        self._most = most
        self._calls: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._settle(0)

    def __call__(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function(*arguments)`` soon; wait if too many calls are behind."""
        self._settle(self._most)
        self._calls.append(self._pool.submit(function, *arguments))

    def _settle(self, most: int) -> None:
        while len(self._calls) > most or (self._calls and self._calls[0].done()):
            self._calls.popleft().result()
