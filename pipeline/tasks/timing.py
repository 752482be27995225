"""Timing of the parts of a sweep."""

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: Seconds by activity.
Seconds = dict[str, float]


@contextmanager
def timed(seconds: Seconds, name: str) -> Iterator[None]:
    """Add the time that the block takes to the seconds of an activity."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def timed_items(items: Iterable[T], seconds: Seconds, name: str) -> Generator[T, None, None]:
    """Yield items, and add the time to make them to the seconds of an activity."""
    source = iter(items)
    while True:
        with timed(seconds, name):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item
