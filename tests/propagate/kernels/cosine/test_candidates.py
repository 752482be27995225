"""Candidates of many fusions at once, of both engines, against separate searches and all sources in the window."""

import numpy as np
import pytest
import torch

from ted.propagate import Affinity, Candidates, CosineKernel, Fusion, SearchSpec
from ted.propagate.kernels.cosine.pairs import pair_cosines, unit_vectors
from ted.propagate.kernels.cosine.precision import BFLOAT16, FLOAT32, Precision
from ted.store.errors import ConfigError
from tests.propagate.features import Parts, adversarial, random_parts
from tests.propagate.helpers import find_candidates, frame_affinity
from tests.references import dense_propagation as dense

pytestmark = pytest.mark.usefixtures("engine")

GRID, FRAMES, RADIUS, TOP_K = (11, 18), 7, 4, 6
ALPHAS = [0.0, 0.1, 0.4, 0.5, 0.8, 1.0]


def fusions(contexts: tuple[int, ...] = (28,)) -> tuple[Fusion, ...]:
    return tuple(Fusion(weights=(alpha, 1 - alpha), context=c) for alpha in ALPHAS for c in contexts)


def find(parts: Parts, search: SearchSpec, precision: Precision = FLOAT32, **options: int) -> Candidates:
    units = [unit_vectors(part) for part in parts]
    return find_candidates(
        [unit[-1] for unit in units], [unit[:-1] for unit in units], search, precision=precision, **options
    )


def rank(found: Candidates, fusion: Fusion, top_k: int, *, grid: tuple[int, int], frames: int) -> Affinity:
    return CosineKernel().rank(found, fusion, top_k, cells=grid[0] * grid[1], frames=frames)


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["noise", "smooth", "duplicates", "constant", "outliers", "patches"])
def test_each_fusion_finds_beside_others_what_it_finds_alone(kind: str, precision: Precision) -> None:
    parts = adversarial(kind, GRID, FRAMES, (24, 9), seed=1)
    found = find(parts, SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=fusions()), precision)
    units = [unit_vectors(part) for part in parts]
    for fusion in fusions():
        alone = frame_affinity(
            [unit[-1] for unit in units], [unit[:-1] for unit in units], fusion.weights, RADIUS, TOP_K
        )  # fmt: skip
        ranked = rank(found, fusion, TOP_K, grid=GRID, frames=FRAMES - 1)
        assert torch.equal(ranked.sources, alone.sources)
        assert torch.equal(ranked.similarity, alone.similarity)
        for fewer in (1, 3):
            assert torch.equal(
                rank(found, fusion, fewer, grid=GRID, frames=FRAMES - 1).sources, alone.sources[:, :fewer]
            )


@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_shorter_contexts_and_bounds_agree_with_the_dense_reference(kind: str) -> None:
    parts, contexts = adversarial(kind, GRID, FRAMES, (24, 9), seed=2), (28, 3, 0)
    search = SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=fusions(contexts))
    found = find(parts, search)
    cells = GRID[0] * GRID[1]
    for fusion, bound in zip(search.fusions, found.bounds, strict=True):
        fused = dense.fuse([part.numpy() for part in parts], fusion.weights, True)
        sims = dense.similarities(fused[-1], fused[:-1], RADIUS)
        for frame in range(1, FRAMES - 1 - fusion.context):
            sims[:, frame * cells : (frame + 1) * cells] = -np.inf
        _, values, _ = dense.best(sims, TOP_K)
        ranked = rank(found, fusion, TOP_K, grid=GRID, frames=FRAMES - 1)
        np.testing.assert_allclose(ranked.similarity.numpy(), values, atol=1e-6)
        np.testing.assert_allclose(bound.numpy(), values[:, -1], atol=1e-6)
        # What the bound promises: nothing that is left out is better.
        listed = np.zeros_like(sims, dtype=bool)
        np.put_along_axis(listed, found.sources.clamp(min=0).numpy(), True, axis=1)
        listed[:, 0] |= (found.sources == 0).any(1).numpy()
        left_out = np.where(listed, -np.inf, sims).max(1)
        assert (left_out <= bound.numpy() + 1e-6).all()


def test_per_frame_search_holds_the_best_of_every_frame() -> None:
    parts = random_parts(GRID, FRAMES, (24, 9), seed=3, smooth=True)
    fusion = Fusion(weights=(0.4, 0.6), context=28)
    search = SearchSpec(radius=RADIUS, top_k=3, fusions=(fusion,), per_frame=True)
    found = find(parts, search)
    assert found.sources.shape == (GRID[0] * GRID[1], 3 * (FRAMES - 1))
    assert found.sources.shape[1] <= search.most_sources(GRID)
    units = [unit_vectors(part) for part in parts]
    cells = GRID[0] * GRID[1]
    for frame in range(FRAMES - 1):
        alone = frame_affinity(
            [unit[-1] for unit in units], [unit[frame : frame + 1] for unit in units], (0.4, 0.6), RADIUS, 3
        )  # fmt: skip
        here = found.sources[:, 3 * frame : 3 * frame + 3]
        assert torch.equal(here, alone.sources.sort(dim=1).values + frame * cells)


def test_candidates_rise_and_padding_comes_last() -> None:
    found = find(random_parts((4, 5), 3, (8, 3), seed=4), SearchSpec(radius=1, top_k=30, fusions=fusions()))
    for row, cosines in zip(found.sources, found.scores.movedim(1, 0), strict=True):
        count = int((row >= 0).sum())
        assert bool((row[:count].diff() > 0).all())
        assert row[count:].eq(-1).all()
        assert not cosines[:, count:].any()
    # A corner sees four cells of each of the two frames: all are candidates, so nothing is left out.
    assert (found.sources[0] >= 0).sum() == 2 * 4
    assert bool((found.bounds == -torch.inf).all())


@pytest.mark.parametrize("budget", [1, 3_000, 40_000])
def test_tiles_change_no_bit(budget: int) -> None:
    parts, search = (
        random_parts(GRID, FRAMES, (24, 9), 5),
        SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=fusions((28, 2))),
    )
    whole, tiled = find(parts, search), find(parts, search, budget=budget)
    for name in ("sources", "scores", "bounds"):
        assert torch.equal(getattr(whole, name), getattr(tiled, name))


@pytest.mark.parametrize("channels", [7, 64, 640])
def test_a_cosine_has_the_same_bits_in_any_company(channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    queries, keys = (unit_vectors(torch.randn(n, channels, generator=generator)) for n in (50, 90))
    sources = torch.randint(90, (50, 9), generator=generator)
    together = pair_cosines(queries, keys, sources)
    apart = torch.stack([pair_cosines(queries[i : i + 1], keys, sources[i : i + 1])[0] for i in range(50)])
    assert torch.equal(together, apart)
    single = torch.cat([pair_cosines(queries, keys, sources[:, i : i + 1].contiguous()) for i in range(9)], dim=1)
    assert torch.equal(together, single)
    exact = (queries.double()[:, None] * keys.double()[sources]).sum(-1)
    torch.testing.assert_close(together.double(), exact, atol=3e-7, rtol=0)


def test_searches_that_make_no_sense_are_refused() -> None:
    one = Fusion(weights=(0.4, 0.6), context=2)
    for wrong in (
        {"radius": -1},
        {"top_k": 0},
        {"fusions": ()},
        {"fusions": (one, one)},
        {"fusions": (one, Fusion(weights=(1.0,), context=2))},
    ):
        with pytest.raises(ConfigError):
            SearchSpec(**({"radius": 1, "top_k": 1, "fusions": (one,)} | wrong))  # type: ignore[arg-type]


def test_a_search_survives_its_record() -> None:
    search = SearchSpec(radius=3, top_k=5, fusions=fusions((28, 3)), per_frame=True)
    assert SearchSpec.from_json(search.to_json()) == search
