"""Maps of pairs of frames, read out sparse, against dense float64; and thresholds, by hand."""

import numpy as np
import pytest
import torch

from ted.propagate.interpolation import (
    MapRange,
    ReadOutSettings,
    labels_of_pair,
    map_range,
    pair_maps,
    place_labels,
    region_labels,
    self_attention,
)
from ted.store.errors import ConfigError, LabelError

GRID, CELLS, SLOTS, TARGETS = (4, 5), 20, 6, 3


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray, torch.Tensor]:
    """Random maps with empty slots, and labels of the previous frame."""
    rng = np.random.default_rng(0)
    sources = np.sort(np.stack([rng.choice(CELLS, SLOTS, replace=False) for _ in range(CELLS)]), axis=1)
    weights = rng.random((CELLS, SLOTS)).astype(np.float32)
    sources[3, 4:], weights[3, 4:] = -1, 0
    cross = rng.random((TARGETS, CELLS)).astype(np.float32)
    return sources.astype(np.int32), weights, cross, torch.from_numpy(rng.random((TARGETS, *GRID)).astype(np.float32))


def dense(sources: np.ndarray, weights: np.ndarray, top_n: int) -> np.ndarray:
    """A_S of the largest weights, entry by entry."""
    matrix = np.zeros((CELLS, CELLS))
    for cell in range(CELLS):
        best = sorted(zip(-weights[cell].astype(float), sources[cell], strict=True))[:top_n]
        for weight, source in best:
            if source >= 0:
                matrix[cell, source] -= weight
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("top_n", [None, 2])
@pytest.mark.parametrize("power", [1, 3])
def test_maps_are_those_of_dense_matrices(pair, top_n: int | None, power: int) -> None:  # type: ignore[no-untyped-def]
    sources, weights, cross, previous = pair
    attention = np.linalg.matrix_power(dense(sources, weights, top_n or SLOTS), power)
    before = previous.flatten(1).double().numpy()
    expected = {
        "propagated": np.einsum("ij,tj->ti", attention, cross),
        "product": cross * np.einsum("ij,tj->ti", attention, cross),
        "cross": cross,
        "self": np.einsum("ij,tj->ti", attention, before),
    }
    for mode, maps in expected.items():
        settings = ReadOutSettings(mode=mode, power=power, top_n=top_n)  # type: ignore[arg-type]
        np.testing.assert_allclose(pair_maps(*pair, settings=settings), maps, rtol=1e-12)
    unset = ReadOutSettings(power=power, top_n=top_n)
    found = [pair_maps(*pair, settings=unset.for_network(has_cross)) for has_cross in (True, False)]
    np.testing.assert_allclose(found, [expected["propagated"], expected["self"]], rtol=1e-12)


def test_complete_rows_are_used_as_they_are() -> None:
    weights = np.random.default_rng(1).dirichlet(np.ones(CELLS), CELLS)
    everywhere = np.tile(np.arange(CELLS, dtype=np.int32), (CELLS, 1))
    np.testing.assert_allclose(self_attention(everywhere, weights).toarray(), weights, rtol=1e-12)


def test_labels_of_regions_cross_one_half_at_the_threshold() -> None:
    maps = np.array([[2.0, 3.0, 4.0, 6.0], [5.0, 5.0, 5.0, 5.0]])
    labels = region_labels(maps, map_range(maps), 0.25)
    np.testing.assert_allclose(labels, [[0, 0.5, 0.5 + 1 / 6, 1], [0, 0, 0, 0]])  # a constant map is empty
    first = MapRange(np.array([0.0, 0.0]), np.array([10.0, 4.0]))
    labels = region_labels(maps[:1].repeat(2, 0), first, 0.7)  # levels 7 and 2.8
    np.testing.assert_allclose(labels, [[0, 0, 0, 0], [0, 0.5 + 0.1 / 3.2, 0.5 + 0.6 / 3.2, 1]])


def test_labels_of_places_are_shares_around_the_maximum_and_above_the_threshold() -> None:
    maps = np.ones((1, *GRID))
    maps[0, 0, :2] = 5, 2  # the maximum, and a neighbour below the threshold
    maps[0, 3, 3:] = 4, 2
    maps = maps.reshape(1, -1)
    labels = place_labels(maps, map_range(maps), 0.5, GRID, "mean").reshape(GRID)
    expected = np.zeros(GRID)
    expected[0, :2], expected[3, 3] = (4 / 8, 1 / 8), 3 / 8
    np.testing.assert_allclose(labels, expected)
    labels = place_labels(maps, map_range(maps), 0.5, GRID, "max").reshape(GRID)
    assert labels[0, 0] == labels.sum() == 1
    assert not place_labels(maps, MapRange(np.zeros(1), np.full(1, 10.0)), 0.5, GRID, "mean").any()


def test_labels_of_a_pair(pair) -> None:  # type: ignore[no-untyped-def]
    maps = pair_maps(*pair, settings=ReadOutSettings())
    found = labels_of_pair(*pair, settings=ReadOutSettings(threshold=0.3))
    expected = region_labels(maps, map_range(maps), 0.3).reshape(TARGETS, *GRID)
    np.testing.assert_array_equal(found.numpy(), expected.astype(np.float32))
    points = labels_of_pair(*pair, settings=ReadOutSettings(place="max"), places=True)
    assert (points.flatten(1).argmax(1).numpy() == maps.argmax(1)).all()
    assert points.sum() == TARGETS
    high = MapRange(np.zeros(TARGETS), np.array([0.1, 100, 100]))
    absent = labels_of_pair(*pair, settings=ReadOutSettings(scale="first"), limits=high)
    assert absent.flatten(1).any(1).tolist() == [True, False, False]


def test_wrong_use(pair) -> None:  # type: ignore[no-untyped-def]
    for wrong in ({"power": 0}, {"top_n": 0}, {"threshold": 1.0}):
        with pytest.raises(ConfigError, match="must be"):
            ReadOutSettings(**wrong)
    with pytest.raises(ConfigError, match="'product' needs cross-attention"):
        ReadOutSettings(mode="product").for_network(has_cross=False)
    with pytest.raises(ConfigError, match="needs the range"):
        labels_of_pair(*pair, settings=ReadOutSettings(scale="first"))
    with pytest.raises(LabelError, match="do not fit labels"):
        labels_of_pair(*pair[:3], torch.zeros(TARGETS, 5, 5), settings=ReadOutSettings())
