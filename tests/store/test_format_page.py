"""The normative page names every key that is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from ted.store import Cache, Unit
from ted.store.stored import StoredUnit

from .conftest import make_affinities, write_affinities

PAGE = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text()


@pytest.fixture(params=["features", "affinities"])
def stored(request: pytest.FixtureRequest, cache: Cache, unit: Unit) -> StoredUnit[Any]:
    return unit if request.param == "features" else write_affinities(cache, make_affinities())


def test_every_key_on_disk_is_documented(stored: StoredUnit[Any]) -> None:
    spec = stored.spec.to_json()
    marker = json.loads((stored.folder / stored.spec.kind.records / "complete.json").read_text())
    search = spec.get("search", {})
    keys = {*spec, *spec.get("request", {}), *search, *search.get("fusions", [{}])[0], *marker}
    assert not [key for key in keys if f"`{key}`" not in PAGE]


def test_every_file_on_disk_is_documented(stored: StoredUnit[Any]) -> None:
    names = {path.name for path in stored.folder.rglob("*") if path.is_file() and "c" not in path.parts}
    assert names == {"zarr.json", "complete.json", "run.json"}
    assert all(name in PAGE for name in names)


def test_arrays_are_as_documented(stored: StoredUnit[Any]) -> None:
    for array in stored.spec.kind.arrays:
        metadata = json.loads((stored.folder / array.metadata).read_text())
        assert f"`{', '.join(metadata['dimension_names'])}`" in PAGE
        assert f"`{array.name}`" in PAGE
        codecs = [(codec["name"], codec.get("configuration", {}).get("level")) for codec in metadata["codecs"]]
        packed = [("zstd", 1)] if stored.spec.kind.name == "affinities" else []
        assert codecs == [("bytes", None), *packed, ("crc32c", None)]
        assert f"`{metadata['data_type']}`" in PAGE
        assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [1, *metadata["shape"][1:]]
