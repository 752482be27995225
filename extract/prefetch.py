"""Iterate over a source in a thread, ahead of the consumer."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Prefetched"]

T = TypeVar("T")

#: Interval in seconds at which a thread that waits for a free slot checks whether it was stopped.
_LOOK = 0.1


class _End:
    """The thread's last message: the end of the source, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetched(Generic[T]):
    """Iterate over a source in a thread, at most a few elements ahead of the consumer; use as a context manager.

    An error of the source is raised in place of its element. Leaving the context stops the thread after its current
    element and waits for it.

    Parameters
    ----------
    source
        The source; only the thread uses and closes it.
    ahead
        Maximum number of elements that wait to be consumed, at least 1.

    Attributes
    ----------
    waited
        Seconds that the consumer has waited for elements.
    """

    def __init__(self, source: Iterable[T], ahead: int) -> None:
        self._source = source
        self._queue: queue.Queue[T | _End] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ted-prefetch", daemon=True)
        self.waited = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            clock = time.monotonic()
            element = self._queue.get()
            self.waited += time.monotonic() - clock
            if isinstance(element, _End):
                if element.error is not None:
                    raise element.error
                return
            yield element

    def _run(self) -> None:
        iterator = iter(self._source)
        error: BaseException | None = None
        try:
            for element in iterator:
                if not self._put(element):
                    return
        except BaseException as raised:  # raised again in the consumer's thread
            error = raised
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            self._put(_End(error))

    def _put(self, element: T | _End) -> bool:
        """Queue an element; return False if the consumer has stopped."""
        while not self._stopped.is_set():
            try:
                self._queue.put(element, timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False
