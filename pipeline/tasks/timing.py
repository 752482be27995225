"""Timing of the parts of a sweep."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: Seconds by activity.
Seconds = dict[str, float]


def add_seconds(seconds: Seconds, others: Mapping[str, float]) -> None:
    """Add the seconds of other activities, or of the same ones in another thread or process."""
    for name, spent in others.items():
        seconds[name] = seconds.get(name, 0.0) + spent


@contextmanager
def timed(seconds: Seconds, name: str) -> Iterator[None]:
    """Add the time that the block takes to the seconds of an activity."""
    started = time.perf_counter()
    try:
        yield
    finally:
        add_seconds(seconds, {name: time.perf_counter() - started})


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
