"""The row engine, on the CPU: same candidates as the cell engine, its fallback, and its work.

`test_exact_search`, `test_candidates` and `tests/propagate/test_protocols.py` compare both engines with references.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch

from benchmarks.counting import Operations
from ted.propagate import (
    AnnotatedLabel,
    Candidates,
    FrameCandidates,
    Fusion,
    PropagationSettings,
    SearchSpec,
    WeightedSettings,
)
from ted.propagate.kernels.cosine import pairs
from ted.propagate.kernels.cosine.cells import CellSearch
from ted.propagate.kernels.cosine.index import CosineIndex, best_engine
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.kernels.cosine.precision import BFLOAT16, FLOAT16, FLOAT32, Precision
from ted.propagate.kernels.cosine.rows import RowSearch
from ted.propagate.kernels.cosine.search import Search
from ted.propagate.labels import ContextLabels, weigh_sources
from tests.propagate.features import Parts, adversarial, random_parts

GRID, FRAMES = (11, 18), 7
ALPHAS = [0.0, 0.1, 0.4, 0.5, 0.8, 1.0]
ONE = SearchSpec(radius=4, top_k=6, fusions=(Fusion(weights=(0.4, 0.6), context=28),))
MANY = replace(
    ONE, fusions=tuple(Fusion(weights=(a, 1 - a), context=context) for a in ALPHAS for context in (28, 3, 0))
)
SPECS = {
    "one": ONE,
    "many": MANY,
    "per frame": replace(MANY, per_frame=True, top_k=2),
    "circle": replace(MANY, window="circle"),
    "first frame": replace(MANY, window="circle", unrestricted_first=True),
}


def index_of(parts: Parts, spec: SearchSpec, **options: object) -> tuple[CosineIndex, list[torch.Tensor]]:
    """Return an index of all frames but the last, which is the query."""
    units = [unit_vectors(part) for part in parts]
    index = CosineIndex(spec, len(parts[0]) - 1, **options)  # type: ignore[arg-type]
    for frame in range(len(parts[0]) - 1):
        index.add(frame, [unit[frame] for unit in units])
    return index, [unit[-1] for unit in units]


def find(parts: Parts, spec: SearchSpec, engine: type[Search], **options: object) -> Candidates:
    index, query = index_of(parts, spec, engine=engine, **options)
    return index.search(query, range(len(parts[0]) - 1), 1)


def assert_equal(found: Candidates, expected: Candidates) -> None:
    for name in ("sources", "scores", "bounds"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_each_device_has_its_engine() -> None:
    assert best_engine(torch.device("cpu")) is CellSearch
    assert best_engine(torch.device("cuda")) is RowSearch


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        *product(["one", "many"], ["noise", "smooth", "duplicates", "outliers"]),
        ("one", "constant"),
        ("many", "patches"),
        *product(["per frame", "circle", "first frame"], ["smooth", "duplicates"]),
    ],
)
def test_candidates_equal_those_of_the_cell_engine_to_the_last_bit(spec: str, kind: str) -> None:
    parts = adversarial(kind, GRID, FRAMES, (24, 9), seed=1)
    expected = find(parts, SPECS[spec], CellSearch, precision=FLOAT32)
    for precision in (FLOAT32, FLOAT16, BFLOAT16) if kind == "smooth" else (FLOAT16,):
        assert_equal(find(parts, SPECS[spec], RowSearch, precision=precision, budget=30_000), expected)


def test_queries_whose_list_is_not_certain_are_searched_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a constant background with objects, only the background needs it."""
    again: list[int] = []
    original = RowSearch._searched

    def watching(self, queries):  # type: ignore[no-untyped-def]
        again.append(len(queries))
        return original(self, queries)

    monkeypatch.setattr(RowSearch, "_searched", watching)
    find(adversarial("smooth", GRID, FRAMES, (24, 9), seed=2), ONE, RowSearch, precision=FLOAT16)
    assert sum(again) < 10
    again.clear()
    find(adversarial("patches", GRID, FRAMES, (24, 9), seed=2), ONE, RowSearch, precision=FLOAT16)
    assert GRID[0] * GRID[1] // 3 < sum(again) < GRID[0] * GRID[1] * 3 // 4


@pytest.mark.parametrize("precision", [FLOAT16, FLOAT32], ids=["float16", "float32"])
def test_products_that_are_off_by_more_than_allowed_are_noticed(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the first products lead to float32 products; errors of these to larger bounds."""
    parts = random_parts(GRID, FRAMES, (24, 9), 7)
    expected = find(parts, MANY, CellSearch, precision=FLOAT32)
    noise, tried = torch.Generator().manual_seed(0), []
    first, second, search = torch.Tensor.baddbmm_, torch.Tensor.__matmul__, RowSearch._searched_at_once

    def disturbed(self, *arguments, **options):  # type: ignore[no-untyped-def]
        first(self, *arguments, **options)
        return self.add_(0.02 * torch.rand(self.shape, generator=noise))

    def less_disturbed(self, other):  # type: ignore[no-untyped-def]
        result = second(self, other)
        return result + 3e-5 * torch.rand(result.shape, generator=noise)

    def watching(self, queries, precision):  # type: ignore[no-untyped-def]
        tried.append(precision.error)
        return search(self, queries, precision)

    monkeypatch.setattr(torch.Tensor, "baddbmm_", disturbed)
    monkeypatch.setattr(torch.Tensor, "__matmul__", less_disturbed)
    monkeypatch.setattr(RowSearch, "_searched_at_once", watching)
    assert_equal(find(parts, MANY, RowSearch, precision=precision), expected)
    assert tried[0] < 1e-5 < max(tried)


def work(spec: SearchSpec, parts: Parts) -> Operations:
    """Count the work of one frame in five blocks of rows, as at the paper's scale: add a frame, search, label."""
    frames, height, width = len(parts[0]) - 1, *parts[0].shape[1:3]
    budget = 4 * width * (4 + 2 * spec.radius) * width * frames
    index, query = index_of(parts, spec, engine=RowSearch, precision=FLOAT16, budget=budget)
    index.search(query, range(frames), 1)  # computes what is computed once a video
    labels = ContextLabels({0: AnnotatedLabel(label=torch.rand(4, height, width))}, len(spec.fusions))
    for frame in range(1, frames):
        labels.hold(frame, range(frame), [torch.rand(4, height, width)] * len(spec.fusions))
    with Operations() as operations:
        index.keep(range(1, frames))
        index.add(frames, query)
        found = index.search(query, range(1, frames + 1), 1)
        step = FrameCandidates(
            frame=frames, context=tuple(range(frames)), annotated=1, grid=(height, width), spec=spec, candidates=found
        )
        values = PropagationSettings(radius=spec.radius, context=28, top_k=spec.top_k)
        settings = [WeightedSettings(weights=fusion.weights, settings=values) for fusion in spec.fusions]
        labels.advance(frames, range(frames), weigh_sources(step, settings))
    return operations


def test_a_frame_takes_few_operations_and_many_fusions_little_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_AT_ONCE", 18 * 24 * 20 * 40)  # two to three steps for each part's cosines
    parts = random_parts((18, 24), 9, (64, 40), seed=3, smooth=True)
    one = work(replace(ONE, top_k=10), parts)
    assert sum(one.calls.values()) <= 400
    eleven = tuple(Fusion(weights=(i / 10, 1 - i / 10), context=28) for i in range(11))
    many = work(replace(ONE, top_k=10, fusions=eleven), parts)
    assert many.flops < 1.01 * one.flops
    assert sum(many.calls.values()) <= 3 * sum(one.calls.values())
    assert many.bytes < 4.5 * one.bytes  # 2.4 times at the paper's scale, where contexts are larger than lists
