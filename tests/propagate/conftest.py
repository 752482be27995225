"""Fixtures of propagation."""

import pytest

from ted.propagate.kernels.cosine import index
from ted.propagate.kernels.cosine.cells import CellSearch
from ted.propagate.kernels.cosine.rows import RowSearch
from ted.propagate.kernels.cosine.search import Search


@pytest.fixture(params=[CellSearch, RowSearch], ids=["cells", "rows"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Search]:
    """Search with one of the two engines of the cosine kernel, on the CPU."""
    monkeypatch.setattr(index, "best_engine", lambda device: request.param)
    return request.param  # type: ignore[no-any-return]
