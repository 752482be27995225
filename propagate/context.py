"""The context of a frame: the frames whose labels are propagated to it."""

from collections.abc import Collection, Sequence
from typing import Literal

from ..store.errors import ConfigError

#: Order of propagation: towards higher frame indices, or towards lower ones.
Direction = Literal["forward", "backward"]


def context_frames(
    frame: int, annotated: Collection[int], context: int, direction: Direction = "forward"
) -> tuple[int, ...]:
    """Return the context of a frame: the annotated frames before it, then at most `context` other frames before it.

    "Before" refers to the direction of propagation, and both groups are in its order: between equally similar sources,
    the search prefers the one in the earlier entry. Frames before the first annotated one are not in the context, since
    they have no label yet. Raises ConfigError when no annotated frame lies before `frame`.

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


def propagation_order(run: range, annotated: Sequence[int]) -> tuple[range, range]:
    """Return the frames of a rising run in the order of propagation: after the first annotated one, then before it.

    >>> propagation_order(range(6), (2, 4))
    (range(3, 6), range(1, -1, -1))
    """
    first = annotated[0]
    before = range(run.start, max(run.start, min(run.stop, first)))
    return range(min(max(run.start, first + 1), run.stop), run.stop), before[::-1]


def fixed_frames(frame: int, annotated: Sequence[int]) -> tuple[int, ...]:
    """Return the annotated frames (of a rising list) in the context of a frame, at any distance.

    Forward: all annotated frames before the frame. Backward: only the first annotated frame, since later annotations
    apply from their frames on.

    >>> fixed_frames(6, (2, 4, 8)), fixed_frames(1, (2, 4, 8))
    ((2, 4), (2,))
    """
    return tuple(index for index in annotated if index < frame) or tuple(annotated[:1])


def frame_context(frame: int, annotated: Sequence[int], context: int, *, fill: bool = False) -> tuple[int, ...]:
    """Return the context of a frame: `context_frames` with its `fixed_frames`, in the direction of propagation.

    With `fill`, the first annotated frame is repeated until there are `context` last frames, as CRW does for early
    frames.

    >>> frame_context(6, (2, 4), 2), frame_context(0, (2, 4), 9)
    ((2, 4, 3, 5), (2, 1))
    >>> frame_context(2, (0,), 3, fill=True)
    (0, 0, 0, 1)
    """
    fixed = fixed_frames(frame, annotated)
    found = context_frames(frame, fixed, context, "forward" if frame > annotated[0] else "backward")
    last = found[len(fixed) :]
    repeated = (fixed[0],) * (context - len(last)) if fill else ()
    return *fixed, *repeated, *last


def positions_within(count: int, annotated: int, context: int) -> list[int]:
    """Return the positions of a shorter context's frames in a context of `count` frames, the annotated ones first.

    >>> positions_within(5, 1, 2)
    [0, 3, 4]
    """
    return [*range(annotated), *range(max(annotated, count - context), count)]
