import threading
import time
from collections.abc import Iterator

import pytest

from ted.extract.prefetch import Prefetched


def test_elements_come_in_order_from_another_thread() -> None:
    threads: set[int] = set()

    def source() -> Iterator[int]:
        for i in range(20):
            threads.add(threading.get_ident())
            yield i

    with Prefetched(source(), 3) as stream:
        assert list(stream) == list(range(20))
    assert threads.isdisjoint({threading.get_ident()})


def test_no_more_than_asked_for_is_taken_ahead() -> None:
    begun: list[int] = []

    def source() -> Iterator[int]:
        for i in range(50):
            begun.append(i)
            yield i

    with Prefetched(source(), 2) as stream:
        iterator = iter(stream)
        next(iterator)
        time.sleep(0.2)
        # One was taken, two wait in the queue, and the thread stands with another in its hand.
        assert len(begun) == 4


def test_an_error_comes_where_its_element_would_have() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    with Prefetched(source(), 2) as stream:
        iterator = iter(stream)
        assert next(iterator) == 1
        with pytest.raises(LookupError, match="gone"):
            next(iterator)


def test_leaving_early_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    with Prefetched(source(), 2) as stream:
        next(iter(stream))
    assert closed.is_set()
    assert threading.active_count() == before


def test_waiting_is_measured() -> None:
    def source() -> Iterator[int]:
        time.sleep(0.15)
        yield 1

    with Prefetched(source(), 1) as stream:
        list(stream)
        assert 0.1 < stream.waited < 5
