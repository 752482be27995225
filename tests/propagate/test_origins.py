"""The traced sources and weights are those that propagation uses."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ted.propagate import PropagationSettings, propagate, trace_origins
from ted.store.errors import ConfigError
from tests.propagate.features import random_parts
from tests.propagate.volumes import Counting, volume
from tests.references.dense_propagation import best, fuse, similarities

GRID, WEIGHTS = (5, 6), (0.4, 0.6)
SETTINGS = PropagationSettings(radius=2, top_k=4, context=2, temperature=0.07)
EVERYWHERE = np.argwhere(np.ones(GRID, dtype=bool))
PARTS = random_parts(GRID, 6, [12, 20], seed=11)
VOLUMES = [(volume(part.numpy()), weight) for part, weight in zip(PARTS, WEIGHTS, strict=True)]


def everywhere(_: int) -> npt.NDArray[np.int64]:
    return EVERYWHERE


def test_labels_are_the_weighted_sum_of_the_sources_labels() -> None:
    first = torch.rand(3, *GRID, generator=torch.Generator().manual_seed(0))
    labels = dict(propagate(VOLUMES, first, SETTINGS))
    traced = list(trace_origins(VOLUMES, SETTINGS, everywhere, frames=range(6)))
    assert [item.frame for item in traced] == [1, 2, 3, 4, 5]
    for item in traced:
        assert item.grid == GRID
        assert item.context[-1] == item.frame - 1
        by_source = np.stack([labels[frame].numpy() for frame in range(6)])
        y, x = np.moveaxis(item.source_cells, -1, 0)
        taken = by_source.transpose(0, 2, 3, 1)[item.frames, y, x]  # (pixel, k, channel)
        expected = (item.weights[..., None] * taken).sum(1)
        np.testing.assert_allclose(labels[item.frame].numpy().reshape(3, -1).T, expected, atol=1e-6)


def test_sources_and_weights_equal_a_dense_search() -> None:
    fused = fuse([part.numpy() for part in PARTS], WEIGHTS, renormalize=True)
    cells = np.array([(0, 0), (2, 3), (4, 5), (3, 0)])
    (item,) = trace_origins(VOLUMES, SETTINGS, lambda _: cells, frames=range(4, 5))
    context = [0, 2, 3]
    assert item.context == (0, 2, 3)
    sources, values, _ = best(similarities(fused[4], fused[context], SETTINGS.radius), SETTINGS.top_k)
    rows = cells[:, 0] * GRID[1] + cells[:, 1]
    places, inside = np.divmod(sources[rows], GRID[0] * GRID[1])
    np.testing.assert_array_equal(item.frames, np.array(context)[places])
    np.testing.assert_array_equal(item.source_cells, np.stack(np.divmod(inside, GRID[1]), axis=-1))
    weights = np.exp(values[rows] / SETTINGS.temperature)
    np.testing.assert_allclose(item.weights, weights / weights.sum(1, keepdims=True), rtol=1e-4)


def test_pixels_with_fewer_sources_than_k_give_the_rest_no_weight() -> None:
    settings = PropagationSettings(radius=1, top_k=6, context=0)
    (item,) = trace_origins(VOLUMES, settings, everywhere, frames=range(1, 2))
    corner, middle = item.weights[0], item.weights[8]
    assert (corner > 0).sum() == 4
    assert (middle > 0).sum() == 6
    np.testing.assert_allclose(item.weights.sum(1), 1, rtol=1e-6)


def test_only_the_contexts_of_the_frames_are_read() -> None:
    counting = Counting(PARTS[0].numpy(), chunk=1)
    list(trace_origins([(counting, 1.0)], SETTINGS, everywhere, frames=range(5, 6)))
    assert sorted(set(counting.reads)) == [0, 3, 4, 5]


def test_pixels_outside_of_the_grid_are_refused() -> None:
    for cell in [(-1, 0), (5, 0), (0, 6)]:
        with pytest.raises(ConfigError, match="outside of the feature grid, which is 5x6"):
            list(trace_origins(VOLUMES, SETTINGS, lambda _, cell=cell: np.array([cell]), frames=range(1, 2)))  # type: ignore[misc]
