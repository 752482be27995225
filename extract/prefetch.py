"""Iterate over a source in a thread, ahead of the consumer."""

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")

_END = object()


class Prefetched(Generic[T]):
    """Iterate over a generator in a thread, at most `ahead` elements before the consumer; use as a context manager.

    An error of the source is raised in place of its element. Leaving the context stops the thread after its current
    element, waits for it, and closes the source.
    """

    def __init__(self, source: Generator[T, None, None], ahead: int) -> None:
        self._source = source
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ted-prefetch")
        self.waited = 0.0  # seconds that the consumer has waited for elements

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._source.close()

    def __iter__(self) -> Iterator[T]:
        # One more than wait: the one that is being made.
        coming: deque[Future[Any]] = deque(self._pool.submit(next, self._source, _END) for _ in range(self._ahead + 1))
        while True:
            clock = time.monotonic()
            element = coming.popleft().result()
            self.waited += time.monotonic() - clock
            if element is _END:
                return
            coming.append(self._pool.submit(next, self._source, _END))
            yield element
