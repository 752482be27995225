"""Both engines against a dense float64 reference, for features and settings that are hard for an exact search."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from ted.propagate import Affinity
from ted.propagate.kernels.cosine.cells import CellSearch
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.kernels.cosine.precision import BFLOAT16, FLOAT16, FLOAT32, Precision
from ted.propagate.kernels.cosine.search import Search
from ted.store.errors import ConfigError
from tests.propagate.features import Parts, adversarial, random_parts
from tests.propagate.helpers import frame_affinity
from tests.references import dense_propagation as dense

pytestmark = pytest.mark.usefixtures("engine")


def run(parts: Parts, weights: Sequence[float], radius: int, top_k: int, **options: object) -> Affinity:
    units = [unit_vectors(part) for part in parts]
    return frame_affinity(
        [u[-1] for u in units], [u[:-1] for u in units], weights, radius, top_k, **options  # type: ignore[arg-type]
    )  # fmt: skip


def assert_agrees(
    affinity: Affinity, parts: Parts, weights: Sequence[float], radius: int, top_k: int, renormalize: bool = True
) -> None:
    """Compare all similarities with the reference, and the sources where the gap after the k-th exceeds 1e-5."""
    fused = dense.fuse([part.numpy() for part in parts], weights, renormalize)
    sims = dense.similarities(fused[-1], fused[:-1], radius)
    sources, values, gaps = dense.best(sims, top_k)
    kept = affinity.sources.shape[1]
    assert np.all(values[:, kept:] == -np.inf)
    values = values[:, :kept]
    scale = 1 if renormalize else sum(w * w for w in weights)
    assert affinity.sources.dtype == torch.int64
    assert affinity.similarity.dtype == torch.float32
    np.testing.assert_allclose(affinity.similarity.numpy(), values, atol=1e-6 * scale, rtol=0)
    clear = gaps > 1e-5 * scale
    assert clear.mean() > 0.9
    valid = values > -np.inf
    ours = np.sort(np.where(valid, affinity.sources.numpy(), -1), axis=1)
    theirs = np.sort(np.where(valid, sources[:, :kept], -1), axis=1)
    np.testing.assert_array_equal(ours[clear], theirs[clear])
    # Each similarity belongs to the source beside it.
    own = np.take_along_axis(sims, affinity.sources.numpy(), axis=1)
    np.testing.assert_allclose(affinity.similarity.numpy()[valid], own[valid], atol=1e-6 * scale, rtol=0)


@pytest.mark.parametrize("smooth", [False, True], ids=["random", "smooth"])
@pytest.mark.parametrize(
    ("grid", "frames", "radius", "top_k"),
    [
        ((11, 14), 5, 4, 10),
        ((20, 9), 3, 15, 7),  # the window is larger than the grid in one direction
        ((5, 6), 4, 1, 3),
        ((13, 17), 2, 2, 1),
        ((1, 12), 3, 2, 4),
        ((6, 6), 4, 0, 2),
    ],
)
def test_equals_the_dense_reference(grid: tuple[int, int], frames: int, radius: int, top_k: int, smooth: bool) -> None:
    parts = random_parts(grid, frames, (24, 9), seed=7, smooth=smooth)
    weights = (0.4, 0.6)
    assert_agrees(run(parts, weights, radius, top_k), parts, weights, radius, top_k)


@pytest.mark.parametrize("budget", [1, 5_000, 50_000])
def test_tiling_changes_nothing(budget: int) -> None:
    parts = random_parts((15, 18), 4, (8, 4), seed=1, smooth=True)
    affinity = run(parts, (0.4, 0.6), 3, 10, budget=budget)
    assert_agrees(affinity, parts, (0.4, 0.6), 3, 10)
    whole = run(parts, (0.4, 0.6), 3, 10)
    assert torch.equal(affinity.sources, whole.sources)
    assert torch.equal(affinity.similarity, whole.similarity)


KINDS = ["noise", "smooth", "duplicates", "constant", "parallel", "outliers", "patches"]


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16, FLOAT16], ids=["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_features_and_the_products_no_better_source_is_missed(kind: str, precision: Precision) -> None:
    """Compare ranked similarities with all of the window's, which shows any missing better source."""
    parts, weights, radius, top_k = adversarial(kind, (12, 20), 6, (48, 20), seed=3), (0.4, 0.6), 5, 10
    affinity = run(parts, weights, radius, top_k, precision=precision)
    fused = dense.fuse([part.numpy() for part in parts], weights, True)
    sims = dense.similarities(fused[-1], fused[:-1], radius)
    _, values, _ = dense.best(sims, top_k)
    np.testing.assert_allclose(affinity.similarity.numpy(), values, atol=1e-6, rtol=0)
    own = np.take_along_axis(sims, affinity.sources.numpy(), axis=1)
    np.testing.assert_allclose(affinity.similarity.numpy(), own, atol=1e-6, rtol=0)
    ordered = affinity.sources.sort(dim=1).values
    assert bool((ordered[:, 1:] > ordered[:, :-1]).all())  # each source once


@pytest.mark.parametrize("precision", [BFLOAT16, FLOAT16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["noise", "smooth", "duplicates", "constant", "outliers", "patches"])
def test_the_precision_of_products_changes_no_bit(kind: str, precision: Precision) -> None:
    parts = adversarial(kind, (12, 20), 6, (48, 20), seed=4)
    expected = run(parts, (0.4, 0.6), 5, 10)
    affinity = run(parts, (0.4, 0.6), 5, 10, precision=precision)
    assert torch.equal(affinity.sources, expected.sources)
    assert torch.equal(affinity.similarity, expected.similarity)


def test_three_parts_and_without_renormalisation() -> None:
    parts = random_parts((8, 9), 4, (6, 5, 4), seed=2)
    weights = (0.5, 2.0, 3.0)
    assert_agrees(run(parts, weights, 3, 6), parts, weights, 3, 6)
    raw = run(parts, weights, 3, 6, renormalize=False)
    assert_agrees(raw, parts, weights, 3, 6, renormalize=False)
    assert raw.similarity.max() > 2  # undivided


def test_what_ties_scales_with_the_weights() -> None:
    parts = random_parts((8, 9), 4, (6, 5), seed=11)
    for scale in (1e-3, 1e3):
        weights = (0.4 * scale, 0.6 * scale)
        assert_agrees(run(parts, weights, 3, 6, renormalize=False), parts, weights, 3, 6, renormalize=False)


def test_a_zero_vector_has_similarity_zero() -> None:
    parts = random_parts((4, 4), 3, (5,), seed=3)
    parts[0][-1, 1, 2] = 0
    affinity = run(parts, [1.0], 3, 4)
    assert torch.equal(affinity.similarity[1 * 4 + 2], torch.zeros(4))
    assert affinity.sources[1 * 4 + 2].tolist() == [0, 1, 2, 3]


def test_a_part_without_weight_is_not_touched() -> None:
    video, image = (unit_vectors(part) for part in random_parts((6, 7), 3, (6, 5), seed=4))
    missing = torch.empty(0)
    for alpha, part in ((1.0, video), (0.0, image)):
        query, context = (
            ([part[-1], missing], [part[:-1], missing]) if alpha else ([missing, part[-1]], [missing, part[:-1]])
        )
        both = frame_affinity(query, context, (alpha, 1 - alpha), 3, 5)
        alone = frame_affinity([part[-1]], [part[:-1]], [1.0], 3, 5)
        assert torch.equal(both.sources, alone.sources)
        assert torch.equal(both.similarity, alone.similarity)


def lowest_in_window(grid: tuple[int, int], frames: int, radius: int, count: int) -> list[list[int]]:
    height, width = grid
    return [
        [
            (frame * height + v) * width + u
            for frame in range(frames)
            for v in range(max(0, y - radius), min(height, y + radius + 1))
            for u in range(max(0, x - radius), min(width, x + radius + 1))
        ][:count]
        for y in range(height)
        for x in range(width)
    ]  # fmt: skip


@pytest.mark.parametrize("channels", [3, 40, 640])
def test_constant_features_go_to_the_lowest_frame_y_x(channels: int) -> None:
    grid = (9, 13)
    vector = torch.randn(channels, generator=torch.Generator().manual_seed(channels))
    affinity = run([vector.expand(4, *grid, channels)], [1.0], 3, 10)
    assert affinity.sources.tolist() == lowest_in_window(grid, 3, 3, 10)
    torch.testing.assert_close(affinity.similarity, torch.ones(9 * 13, 10), atol=1e-6, rtol=0)


def test_zero_features_go_to_the_lowest_frame_y_x() -> None:
    affinity = run([torch.zeros(3, 7, 6, 5)], [1.0], 2, 4)
    assert affinity.sources.tolist() == lowest_in_window((7, 6), 2, 2, 4)


@pytest.mark.parametrize("budget", [1, 2**20])
def test_of_duplicate_frames_the_lower_are_kept(budget: int) -> None:
    grid, copies, top_k, radius = (10, 11), 6, 9, 4
    frame, query = (p.unsqueeze(0) for p in random_parts(grid, 2, (33,), seed=6)[0])
    parts = [torch.cat([frame] * copies + [query])]
    affinity = run(parts, [1.0], radius, top_k, budget=budget)
    sims = dense.similarities(dense.unit(query[0].numpy()), dense.unit(frame.numpy()), radius)
    first, second = np.argsort(-sims, axis=1, kind="stable")[:, :2].T
    # Six copies of the best cell, then the first three copies of the second best.
    expected = [
        sorted([i * 110 + int(a) for i in range(copies)] + [i * 110 + int(b) for i in range(top_k - copies)])
        for a, b in zip(first, second, strict=True)
    ]
    assert affinity.sources.sort(dim=1).values.tolist() == expected


def test_ties_inside_one_frame_above_and_at_the_kth_place() -> None:
    # Sources in one row of similarity: 0.5, 1, 0.5, 1, 0.5; k = 4 takes both ones and the first two halves.
    strong, weak, query = [1.0, 0.0], [0.5, 0.75**0.5], [1.0, 0.0]
    row = torch.tensor([[[weak, strong, weak, strong, weak]], [[query] * 5]])
    affinity = run([row], [1.0], 4, 4)
    assert affinity.sources.tolist() == [[1, 3, 0, 2]] * 5


def test_fewer_sources_than_k() -> None:
    parts = random_parts((3, 4), 3, (8,), seed=8)
    affinity = run(parts, [1.0], 1, 100)
    assert affinity.sources.shape == (12, 2 * 9)  # what an inner pixel has
    assert_agrees(affinity, parts, [1.0], 1, 100)
    corner, inner = affinity.similarity[0], affinity.similarity[5]
    assert torch.isfinite(corner).tolist() == [True] * 8 + [False] * 10
    assert affinity.sources[0, 8:].tolist() == [0] * 10
    assert torch.isfinite(inner).all()


def test_radius_zero_is_the_same_place_in_every_frame() -> None:
    affinity = run(random_parts((3, 3), 4, (8,), seed=9), [1.0], 0, 3)
    assert affinity.sources.sort(dim=1).values.tolist() == [[p, 9 + p, 18 + p] for p in range(9)]


def test_products_are_exact_whatever_the_process_allows() -> None:
    parts = random_parts((16, 16), 3, (256,), seed=10)
    expected = run(parts, [1.0], 15, 5)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        affinity = run(parts, [1.0], 15, 5)
        assert torch.get_float32_matmul_precision() == "medium"  # left as it was
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(affinity.similarity, expected.similarity)


def test_a_backends_own_precision_is_set_aside_and_restored(
    engine: type[Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = torch.backends.cuda.matmul
    if not hasattr(backend, "fp32_precision"):
        pytest.skip("torch has one precision for all backends before 2.9")
    seen: list[str] = []

    def watching(*arguments: Any, **options: Any) -> torch.Tensor:
        seen.append(backend.fp32_precision)
        return product(*arguments, **options)

    owner, name = (torch, "addmm") if engine is CellSearch else (torch.Tensor, "baddbmm_")
    product = getattr(owner, name)
    monkeypatch.setattr(owner, name, watching)
    before = backend.fp32_precision
    backend.fp32_precision = "tf32"
    try:
        run(random_parts((3, 3), 2, (4,), seed=0), [1.0], 1, 1)
        assert backend.fp32_precision == "tf32"
    finally:
        backend.fp32_precision = before
    assert set(seen) == {"ieee"}


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_useless_weights_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="weights"):
        run(random_parts((3, 3), 2, (4, 4), seed=0), weights, 1, 1)


def test_unit_vectors_normalise_half_precision_in_float32() -> None:
    features = torch.tensor([[[300.0, 400.0], [0.0, 0.0], [6e-8, 0.0]]], dtype=torch.float16)
    units = unit_vectors(features)  # in float16, 300 squared would overflow
    assert units.dtype == torch.float32
    torch.testing.assert_close(units, torch.tensor([[[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]]]))
