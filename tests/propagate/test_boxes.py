"""Encode boxes as label maps and decode them, with sub-pixel edges."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ted.propagate.targets.boxes import PRESENT_FROM, BoxTarget, decode_boxes, encode_boxes
from ted.store.errors import LabelError

SIZE, GRID = (120, 200), (12, 16)  # cells of 10 x 12.5 pixels
CELL = np.array([12.5, 10, 12.5, 10])


def random_boxes(low: float, high: float, count: int = 300) -> NDArray[np.float64]:
    """Random boxes inside the frame, with sides in cells."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(low, high, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array(GRID[::-1]) - sides)
    return np.concatenate([corners, sides], axis=1) * CELL


def test_cells_have_the_share_that_is_covered() -> None:
    label = encode_boxes(np.array([[6.25, 5, 25, 10.0], [-20, 100, 30, 50.0], [12.5, 10, 12.5, 10.0]]), SIZE, GRID)
    assert label.shape == (3, *GRID)
    assert label[0, :3, :4].tolist() == [[0.25, 0.5, 0.25, 0], [0.25, 0.5, 0.25, 0], [0, 0, 0, 0]]
    # What is outside of the frame is cut off: 10 pixels of 12.5 are left, in the last two rows.
    np.testing.assert_allclose(label[1, 9:, :2], [[0, 0], [0.8, 0], [0.8, 0]], rtol=1e-6)
    assert label[2].sum() == label[2, 1, 1] == 1


def test_cells_cover_what_a_fine_raster_counts() -> None:
    fine = 20  # sub-pixels of a pixel's side: boxes lie on whole ones
    boxes = np.round(random_boxes(0.3, 5, 20) * fine) / fine
    label = encode_boxes(boxes, SIZE, GRID)
    for box, channel in zip(boxes, label.numpy(), strict=True):
        x, y, width, height = np.round(box * fine).astype(int)
        raster = np.zeros((SIZE[0] * fine, SIZE[1] * fine), dtype=bool)
        raster[y : y + height, x : x + width] = True
        shares = raster.reshape(GRID[0], 10 * fine, GRID[1], int(12.5 * fine)).mean((1, 3))
        np.testing.assert_allclose(channel, shares, atol=1e-6)


def test_there_and_back_is_the_same_box() -> None:
    boxes = random_boxes(2, 7)
    label = encode_boxes(boxes, SIZE, GRID)
    found, mass = decode_boxes(label, SIZE)
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-4)
    np.testing.assert_allclose(mass, boxes[:, 2] * boxes[:, 3] / 125, rtol=1e-5)


def test_small_boxes_come_back_within_the_cells_that_they_touch() -> None:
    boxes = random_boxes(0.2, 2)
    found, _ = decode_boxes(encode_boxes(boxes, SIZE, GRID), SIZE)
    low, high = np.floor(boxes[:, :2] / CELL[:2]), np.ceil((boxes[:, :2] + boxes[:, 2:]) / CELL[:2])
    assert (found[:, :2] >= low * CELL[:2] - 1e-6).all()
    assert (found[:, :2] + found[:, 2:] <= high * CELL[:2] + 1e-6).all()


def test_even_blur_and_fading_do_not_move_edges() -> None:
    box = np.array([[50.0, 40, 75, 40]])
    label = encode_boxes(box, SIZE, GRID)
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blurred = torch.nn.functional.conv2d(label[None], (kernel[:, None] * kernel)[None, None], padding=1)[0]
    found, _ = decode_boxes(0.3 * blurred, SIZE)
    np.testing.assert_allclose(found, box, atol=1e-4)


def test_a_disc_has_its_diameter_and_stray_parts_do_not_count() -> None:
    y, x = np.mgrid[: GRID[0], : GRID[1]]
    label = torch.zeros(2, *GRID)
    label[0][torch.from_numpy(np.hypot(y - 5, x - 6) <= 3)] = 0.8
    label[0, 10, 14], label[0, 5, 15], label[0, 0, 0] = 1.0, 0.3, 0.35
    found, mass = decode_boxes(label, SIZE)
    # Seven cells each way; the largest value is elsewhere, the part with the most label is the disc.
    np.testing.assert_allclose(found[0], np.array([3, 2, 7, 7]) * CELL, rtol=1e-6)
    assert mass[0] == pytest.approx(0.8 * 29)
    assert (np.isnan(found[1]).all(), mass[1]) == (True, 0)


def test_target_gives_back_what_is_given_and_reads_the_rest() -> None:
    boxes = np.array([[50.0, 40, 50, 30], [np.nan] * 4, [-10, 100, 35, 30]])
    later = np.array([[np.nan] * 4, [25.0, 20, 25, 20], [np.nan] * 4])
    target = BoxTarget(rows={4: later, 2: boxes}, size=SIZE)
    given = target.encode(GRID)
    assert list(given) == [2, 4]
    assert [given[frame].channels for frame in (2, 4)] == [(0, 2), (1,)]
    assert not given[2].exclusive
    assert given[2].label[1].sum() == 0
    predicted = encode_boxes(np.array([[62.5, 50, 50, 30], [25.0, 20, 25, 20], [12.5, 100, 25, 20]]), SIZE, GRID)
    predicted[2] *= 0.5 * PRESENT_FROM
    there = target.decode(2, predicted, (64, 64))
    np.testing.assert_array_equal(there.boxes[[0, 2]], boxes[[0, 2]])
    np.testing.assert_allclose(there.boxes[1], later[1], atol=1e-4)
    np.testing.assert_allclose(there.mass, 1, rtol=1e-5)
    elsewhere = target.decode(3, predicted, (64, 64))
    np.testing.assert_allclose(elsewhere.boxes[0], [62.5, 50, 50, 30], atol=1e-4)
    assert np.isnan(elsewhere.boxes[2]).all()  # too little of it is left
    np.testing.assert_allclose(elsewhere.mass[2], 0.5 * PRESENT_FROM, rtol=1e-5)


def test_boxes_that_are_none_are_refused() -> None:
    with pytest.raises(LabelError, match=r"arrays of shape \(box, 4\)"):
        BoxTarget(rows={0: np.zeros((1, 2))}, size=SIZE)
    with pytest.raises(LabelError, match="at least one frame"):
        BoxTarget(rows={}, size=SIZE)
