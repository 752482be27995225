"""Following joints and points under several settings at once, as ``ted propagate`` does under one."""

import copy
from collections.abc import Iterable
from typing import TypeVar

from .base import Labels
from .following import Following
from .timing import Seconds, timed

__all__ = ["follow"]

F = TypeVar("F", bound=Following)


def follow(
    following: F, labels: Iterable[Labels], count: int, frame_size: tuple[int, int], seconds: Seconds
) -> list[F]:
    """Collect what is found of each target under each setting.

    Parameters
    ----------
    following
        The targets; nothing is found of them yet.
    labels, count, frame_size, seconds
        As for `Evaluator`.

    Returns
    -------
    list
        One for each setting, with what was found.
    """
    found = [copy.deepcopy(following) for _ in range(count)]
    for number, ((given, target), of_target) in enumerate(zip(following.targets, labels, strict=True)):
        for frame, of_settings in of_target:
            if frame < given[0] and not following.backward:
                break  # these come last
            with timed(seconds, "decoding"):
                for one, label in zip(found, of_settings, strict=True):
                    one.collect(number, frame, target.decode(frame, label, frame_size))
    return found
