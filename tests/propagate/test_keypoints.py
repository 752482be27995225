"""Encode keypoints as label maps and decode them, against a plain version of CRW's code."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ted.propagate.targets.keypoints import ABSENT, KeypointTarget, decode_keypoints, encode_keypoints
from ted.store.errors import LabelError

SIZE, GRID = (240, 320), (40, 40)
Array = npt.NDArray[np.float64]


def plain_map(x: float, y: float, grid: tuple[int, int]) -> Array:
    """CRW's map of a joint at (x, y) in cells: a 4x4 patch with its middle at (2, 2), pasted where it fits."""
    drawn = np.zeros(grid)
    left, top = int(x - 1.5), int(y - 1.5)
    right, bottom = int(x + 2.5), int(y + 2.5)
    for row in range(4):
        for column in range(4):
            at = top + row, left + column
            if 0 <= at[0] < min(bottom, grid[0]) and 0 <= at[1] < min(right, grid[1]):
                drawn[at] = np.exp(-2 * ((row - 2) ** 2 + (column - 2) ** 2))
    return drawn


def plain_place(drawn: Array) -> tuple[float, float]:
    """Mean (x, y) of the three largest cells, in cells."""
    best = sorted(((-value, y, x) for (y, x), value in np.ndenumerate(drawn)))[:3]
    total = sum(-value for value, _, _ in best)
    if total == 0:
        return ABSENT, ABSENT
    return sum(-v * x for v, _, x in best) / total, sum(-v * y for v, y, _ in best) / total


@pytest.mark.parametrize("grid", [(40, 40), (30, 52)])
def test_maps_are_those_of_the_plain_reference_inside_and_at_every_edge(grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((-30, -30), (SIZE[1] + 30, SIZE[0] + 30), (200, 2))
    label = encode_keypoints(points, SIZE, grid)
    assert label.shape == (201, *grid)
    assert label.dtype == torch.float32
    expected = np.stack([plain_map(x / SIZE[1] * grid[1], y / SIZE[0] * grid[0], grid) for x, y in points])
    np.testing.assert_allclose(label[1:].numpy(), expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(label[0].numpy(), expected.sum(0) == 0)
    assert 0 < (expected.sum((1, 2)) == 0).sum() < 100  # some are too far outside, most are not


def test_a_joint_is_drawn_around_its_nearest_cell() -> None:
    # 100 pixels are 12.5 cells of 8, 62 are 10.33 cells of 6.
    label = encode_keypoints(np.array([[100.0, 62.0]]), SIZE, GRID)
    assert label[1].argmax() == 10 * 40 + 13
    assert label[1].max() == 1
    np.testing.assert_allclose(label[1, 10, 11:15], np.exp([-8, -2, 0, -2]), rtol=1e-6)
    assert (label[1] > 0).sum() == 16


def test_random_maps_are_read_as_by_the_plain_reference() -> None:
    rng = np.random.default_rng(1)
    label = rng.random((9, 6, 7)).astype(np.float32) ** 4
    label[4] = 0
    label[5] = 0
    label[5, 2, 3] = 0.25  # one cell alone
    label[6] = np.round(label[6] * 3) / 3  # many equal ones
    points = decode_keypoints(torch.from_numpy(label), (60, 140))
    for joint, (x, y) in enumerate(points):
        wanted = plain_place(label[joint + 1].astype(np.float64))
        scale = (1, 1) if wanted[0] == ABSENT else (20, 10)
        assert (x, y) == pytest.approx((wanted[0] * scale[0], wanted[1] * scale[1]), abs=1e-9)
    assert points[3].tolist() == [ABSENT, ABSENT]
    assert points[4].tolist() == [60, 20]


def test_there_and_back_is_within_a_cell() -> None:
    rng = np.random.default_rng(2)
    points = rng.uniform((20, 20), (300, 220), (50, 2))
    found = decode_keypoints(encode_keypoints(points, SIZE, GRID), SIZE)
    # Half a cell to the nearest, and less than a quarter by the two neighbours that are read with it.
    assert (np.abs(found - points) < 0.75 * np.array([8, 6])).all()


def test_target_gives_back_what_is_given_and_reads_the_rest() -> None:
    points = np.array([[50.3, 60.1], [np.nan, np.nan], [200.7, 100.2]])
    target = KeypointTarget(rows={3: points}, size=SIZE)
    given = target.encode(GRID)
    assert list(given) == [3]
    assert given[3].channels == (1, 3)
    assert not given[3].exclusive
    predicted = encode_keypoints(points[[2, 0, 1]], SIZE, GRID)
    there = target.decode(3, predicted, (320, 320))
    np.testing.assert_array_equal(there[[0, 2]], points[[0, 2]])
    np.testing.assert_array_equal(there[1], decode_keypoints(predicted, SIZE)[1])
    np.testing.assert_array_equal(target.decode(4, predicted, (320, 320)), decode_keypoints(predicted, SIZE))
    assert KeypointTarget(rows={0: points[[0, 2]]}, size=SIZE).encode(GRID)[0].channels is None


@pytest.mark.parametrize("shapes", [[], [(3,)], [(4, 3)], [(4, 2), (5, 2)]])
def test_points_of_wrong_shapes_are_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(LabelError, match=r"\(point, 2\)"):
        KeypointTarget(rows={frame: np.zeros(shape) for frame, shape in enumerate(shapes)}, size=SIZE)
