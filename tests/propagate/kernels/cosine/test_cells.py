"""How the cell engine treats what it cannot tell apart."""

import pytest
import torch

from ted.propagate import Fusion, SearchSpec
from ted.propagate.kernels.cosine import admission, cells
from ted.propagate.kernels.cosine.precision import BFLOAT16, Precision
from tests.propagate.features import adversarial, random_parts

from .test_candidates import FRAMES, GRID, RADIUS, TOP_K, find, fusions


@pytest.mark.parametrize("kind", ["noise", "smooth", "duplicates", "constant", "parallel", "patches"])
def test_ties_among_more_than_can_be_compared_go_to_the_first(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search in batches of a single query, as if memory were short."""
    parts, search = (
        adversarial(kind, GRID, FRAMES, (24, 9), 6),
        SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=fusions()),
    )
    expected = find(parts, search)
    monkeypatch.setattr(admission, "_SEGMENTS_AT_ONCE", 1)
    monkeypatch.setattr(admission, "_QUERIES_AT_ONCE", 5)
    found = find(parts, search)
    assert torch.equal(found.sources, expected.sources)
    assert torch.equal(found.bounds, expected.bounds)


def test_products_that_are_off_by_more_than_allowed_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If exact cosines contradict the products' error bound, the tile is searched again with a larger bound."""
    parts, search = random_parts(GRID, FRAMES, (24, 9), 7), SearchSpec(radius=RADIUS, top_k=TOP_K, fusions=fusions())
    expected = find(parts, search)
    generator = torch.Generator().manual_seed(0)
    tried: list[Precision] = []
    scores = cells.TileScores

    class Disturbed(scores):  # type: ignore[misc, valid-type]
        def _fill(self, operands, buffer):  # type: ignore[no-untyped-def]
            maxima = super()._fill(operands, buffer)
            buffer += 3e-5 * torch.rand(buffer.shape, generator=generator)
            return maxima + 3e-5

    original = cells.CellSearch.tile

    def watching(self, tile, precision, buffers):  # type: ignore[no-untyped-def]
        tried.append(precision)
        return original(self, tile, precision, buffers)

    monkeypatch.setattr(cells, "TileScores", Disturbed)
    monkeypatch.setattr(cells.CellSearch, "tile", watching)
    found = find(parts, search)
    assert max(precision.error for precision in tried) > 2e-5
    assert torch.equal(found.sources, expected.sources)
    assert torch.equal(found.scores, expected.scores)


def test_low_precision_that_tells_nothing_apart_gives_way_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = adversarial("outliers", (24, 30), 8, (24, 9), seed=8)
    tried: list[torch.dtype] = []
    original = cells.CellSearch.tile

    def watching(self, tile, precision, buffers):  # type: ignore[no-untyped-def]
        tried.append(precision.dtype)
        return original(self, tile, precision, buffers)

    monkeypatch.setattr(cells.CellSearch, "tile", watching)
    search = SearchSpec(radius=9, top_k=3, fusions=(Fusion(weights=(0.5, 0.5), context=28),))
    low = find(parts, search, BFLOAT16)
    assert tried[0] == torch.bfloat16
    assert torch.float32 in tried
    assert torch.equal(low.sources, find(parts, search).sources)
