"""Which frames a frame takes its labels from."""

from collections.abc import Collection
from typing import Literal

from ..store.errors import ConfigError

__all__ = ["Direction", "context_frames", "places_within"]

#: Order in which a video is propagated through: from low to high frame indices, or from high to low.
Direction = Literal["forward", "backward"]


def context_frames(
    frame: int, annotated: Collection[int], context: int, direction: Direction = "forward"
) -> tuple[int, ...]:
    """Return the context of a frame: annotated frames behind it, then the last frames before it.

    "Behind" and "before" are meant in the direction of propagation. An annotated frame is never counted among the
    last ones, and frames that propagation has not reached yet (before the first annotated one) are left out.

    Parameters
    ----------
    frame
        Index of the frame that gets a label.
    annotated
        Indices of frames with a given label.
    context
        Largest number of last frames, at least 0.
    direction
        Of propagation.

    Returns
    -------
    tuple of int
        Annotated frames, then last frames, each in the order of propagation. Where similarities tie, earlier entries
        win. For frame 1 of a video annotated at frame 0, ``(0,)``.

    Raises
    ------
    ConfigError
        When no annotated frame lies behind `frame`.

    Examples
    --------
    >>> context_frames(6, [0], 3)
    (0, 3, 4, 5)
    >>> context_frames(2, [9, 5], 2, "backward")
    (9, 5, 4, 3)
    """
    step = 1 if direction == "forward" else -1
    behind = sorted((index for index in set(annotated) if (frame - index) * step > 0), reverse=step < 0)
    if not behind:
        known = ", ".join(map(str, sorted(set(annotated)))) or "none"
        raise ConfigError(f"no annotated frame to propagate {direction} to frame {frame} from (annotated: {known})")
    last: list[int] = []
    for index in range(frame - step, behind[0], -step):
        if len(last) == context:
            break
        if index not in annotated:
            last.append(index)
    return (*behind, *reversed(last))


def places_within(count: int, annotated: int, context: int) -> list[int]:
    """Return the places, in a frame's context, of the frames that a shorter context has.

    Parameters
    ----------
    count
        Frames of the context.
    annotated
        How many of them are annotated: they come first.
    context
        Last frames of the shorter context.

    Examples
    --------
    >>> places_within(5, 1, 2)
    [0, 3, 4]
    """
    return [*range(annotated), *range(max(annotated, count - context), count)]
