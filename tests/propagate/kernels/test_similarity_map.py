"""Similarity maps against a dense reference, and bit for bit against a search."""

import numpy as np
import pytest
import torch

from ted.propagate import CosineKernel, FeatureReader, Fusion, PropagationSettings, window_mask
from tests.propagate.features import random_parts
from tests.propagate.helpers import affinities
from tests.propagate.volumes import volume
from tests.references.dense_propagation import fuse, similarities

GRID = (6, 7)


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 0.5), (0.9,)])
def test_it_equals_fused_features_in_double_precision(weights: tuple[float, ...], renormalize: bool) -> None:
    parts = random_parts(GRID, 3, [5, 40][: len(weights)], seed=3)
    fusion = Fusion(weights=weights, context=0, renormalize=renormalize)
    volumes = [(volume(part.numpy()), weight) for part, weight in zip(parts, weights, strict=True)]
    kernel = CosineKernel()
    first, _, other = (kernel.prepare(frame) for _, frame in FeatureReader(volumes).frames(torch.device("cpu")))
    fused = fuse([part.numpy() for part in parts], weights, renormalize)
    for cell in [(0, 0), (3, 5), (5, 6)]:
        got = kernel.similarity_map(first, cell, other, fusion)
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.numpy(), fused[2] @ fused[0][cell], atol=1e-6)
    own = kernel.similarity_map(other, (2, 3), other, fusion)
    assert np.unravel_index(int(own.argmax()), GRID) == (2, 3)


def test_it_has_the_bits_that_propagation_compares() -> None:
    parts = random_parts(GRID, 4, [33, 64], seed=5, smooth=True)
    volumes = [(volume(part.numpy()), weight) for part, weight in zip(parts, (0.4, 0.6), strict=True)]
    settings = PropagationSettings(radius=2, top_k=6, context=2)
    kernel = CosineKernel()
    frames = [kernel.prepare(parts) for _, parts in FeatureReader(volumes).frames(torch.device("cpu"))]
    fusion = Fusion(weights=(0.4, 0.6), context=2)
    *_, step = affinities(volumes, settings)
    cells = GRID[0] * GRID[1]
    for pixel in range(0, cells, 4):
        y, x = divmod(pixel, GRID[1])
        maps = [kernel.similarity_map(frames[3], (y, x), frames[frame], fusion) for frame in step.context]
        seen = torch.stack(maps).flatten()[step.affinity.sources[pixel]]
        np.testing.assert_array_equal(seen.numpy(), step.affinity.similarity[pixel].numpy())


@pytest.mark.parametrize("cell", [(0, 0), (3, 2), (5, 6)])
@pytest.mark.parametrize("radius", [0, 1, 3, 20])
def test_windows_are_those_of_the_search(cell: tuple[int, int], radius: int) -> None:
    some = np.ones((*GRID, 2))
    seen = np.isfinite(similarities(some, some[None], radius))[cell[0] * GRID[1] + cell[1]].reshape(GRID)
    np.testing.assert_array_equal(window_mask(GRID, cell, radius).numpy(), seen)
