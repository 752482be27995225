import pytest

from ted.propagate.context import Direction, context_frames
from ted.store.errors import ConfigError


@pytest.mark.parametrize(
    ("frame", "annotated", "context", "expected"),
    [
        (1, [0], 28, (0,)),
        (2, [0], 28, (0, 1)),
        (5, [0], 2, (0, 3, 4)),
        (3, [0], 2, (0, 1, 2)),  # the first frame is not counted: two others still fit
        (2, [0], 2, (0, 1)),
        (5, [0], 0, (0,)),
        (30, [0], 28, (0, *range(2, 30))),
        (29, [0], 28, (0, *range(1, 29))),
        (6, [4], 10, (4, 5)),  # frames before the first annotation have no label
        (7, [0, 5], 3, (0, 5, 3, 4, 6)),  # annotated frames are never among the last ones
        (4, [0, 5], 2, (0, 2, 3)),  # an annotation ahead is not known yet
        (6, [5, 0], 1, (0, 5, 4)),
    ],
)
def test_forward_by_hand(frame: int, annotated: list[int], context: int, expected: tuple[int, ...]) -> None:
    assert context_frames(frame, annotated, context) == expected


@pytest.mark.parametrize(
    ("frame", "annotated", "context", "expected"),
    [
        (8, [9], 3, (9,)),
        (4, [9], 3, (9, 7, 6, 5)),
        (2, [9, 5], 3, (9, 5, 6, 4, 3)),
        (6, [9, 5], 1, (9, 7)),
    ],
)
def test_backward_by_hand(frame: int, annotated: list[int], context: int, expected: tuple[int, ...]) -> None:
    assert context_frames(frame, annotated, context, "backward") == expected


def test_backward_mirrors_forward() -> None:
    last = 12
    for annotated in ([0], [0, 4], [2, 9]):
        mirrored = [last - i for i in annotated]
        for frame in range(annotated[0] + 1, last + 1):
            expected = tuple(last - i for i in context_frames(frame, annotated, 3))
            assert context_frames(last - frame, mirrored, 3, "backward") == expected


@pytest.mark.parametrize(
    ("frame", "annotated", "direction"), [(0, [0], "forward"), (3, [1], "backward"), (3, [], "forward")]
)
def test_nothing_to_propagate_from(frame: int, annotated: list[int], direction: Direction) -> None:
    with pytest.raises(ConfigError, match=f"to frame {frame}"):
        context_frames(frame, annotated, 3, direction)
