"""Encode points as label maps and decode them, with sub-cell precision."""

import numpy as np
import pytest
import torch

from ted.propagate.targets.points import PointTarget, decode_points, encode_points

SIZE, GRID = (120, 200), (12, 16)  # cells of 10 x 12.5 pixels


def test_there_and_back_is_the_same_place() -> None:
    points = np.random.default_rng(0).uniform((6.25, 5), (193.75, 115), (300, 2))
    label = encode_points(points, SIZE, GRID)
    assert label.shape == (300, *GRID)
    np.testing.assert_allclose(label.sum((1, 2)), 1, rtol=1e-6)
    assert ((label > 0).sum((1, 2)) <= 4).all()
    found = decode_points(label, SIZE)
    np.testing.assert_allclose(found.places, points, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.mass, 1, rtol=1e-6)
    assert found.visible.all()


def test_a_cells_centre_is_half_a_cell_in_and_points_at_the_rim_move_there() -> None:
    label = encode_points(np.array([[6.25, 5], [0, 0], [18.75, 15], [200, 120], [12.5, 5]]), SIZE, GRID)
    assert label[0, 0, 0] == label[1, 0, 0] == label[2, 1, 1] == label[3, 11, 15] == 1
    assert label[4, 0, :3].tolist() == [0.5, 0.5, 0]
    np.testing.assert_allclose(decode_points(label, SIZE).places[3], [193.75, 115])


def test_places_are_read_around_the_maximum_alone() -> None:
    label = torch.zeros(3, *GRID)
    label[0, 4, 5], label[0, 4, 6], label[0, 5, 5] = 0.3, 0.15, 0.15
    label[0, 6, 7] = 0.1  # two cells away: counts for the mass, not for the coordinates
    label[0, 4, 8] = 0.29  # three cells away: neither
    label[1, 0, 0] = label[1, 9, 9] = 0.2  # equal: the first
    found = decode_points(label, SIZE)
    np.testing.assert_allclose(found.places[0], [(5.25 + 0.5) * 12.5, (4.25 + 0.5) * 10], rtol=1e-6)
    np.testing.assert_allclose(found.places[1], [6.25, 5], rtol=1e-6)
    np.testing.assert_allclose(found.mass, [0.7, 0.2, 0], rtol=1e-6)
    assert found.visible.tolist() == [True, False, False]
    assert np.isnan(found.places[2]).all()


def test_random_maps_are_read_as_by_a_plain_reference() -> None:
    label = torch.from_numpy(np.random.default_rng(3).random((20, 5, 6)))
    found = decode_points(label, (50, 60))
    for channel, place, mass in zip(label.numpy(), found.places, found.mass, strict=True):
        row, column = np.unravel_index(channel.argmax(), channel.shape)
        near = [(y, x, v) for (y, x), v in np.ndenumerate(channel) if max(abs(y - row), abs(x - column)) <= 1]
        total = sum(v for _, _, v in near)
        assert place[0] == pytest.approx(10 * (sum(x * v for _, x, v in near) / total + 0.5))
        assert place[1] == pytest.approx(10 * (sum(y * v for y, _, v in near) / total + 0.5))
        around = [v for (y, x), v in np.ndenumerate(channel) if max(abs(y - row), abs(x - column)) <= 2]
        assert mass == pytest.approx(sum(around))


def test_target_gives_back_what_is_given_and_reads_the_rest() -> None:
    points = np.array([[50.0, 60.0], [np.nan, np.nan], [0.0, 119.0]])
    target = PointTarget(rows={2: points}, size=SIZE)
    given = target.encode(GRID)
    assert given[2].channels == (0, 2)
    assert given[2].label[1].sum() == 0
    predicted = 0.1 * encode_points(points[[2, 0, 1]], SIZE, GRID)
    there = target.decode(2, predicted, (64, 64))
    np.testing.assert_array_equal(there.places[[0, 2]], points[[0, 2]])
    np.testing.assert_allclose(there.places[1], points[0], atol=1e-4)
    np.testing.assert_allclose(there.mass, [1, 0.1, 1], rtol=1e-6)
    elsewhere = target.decode(0, predicted, (64, 64))
    np.testing.assert_array_equal(elsewhere.places, decode_points(predicted, SIZE).places)
    assert PointTarget(rows={0: points[[0, 2]]}, size=SIZE).encode(GRID)[0].channels is None
