"""The normative page names every key on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import Cache
from ted.store.stored import StoredUnit

from .conftest import write_affinities, write_codec, write_unit
from .unit_inputs import make_affinities, make_spec

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "storage-format.md").read_text()


#: Compressor of the chunks of each kind of unit, and its settings.
PACKED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "features": [],
    "affinities": [("zstd", {"level": 1})],
    "int8": [],
    "bitround:7": [("blosc", {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"})],
    "pca:3": [],
}


@pytest.fixture(params=list(PACKED))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stored(kind: str, cache: Cache, values: NDArray[np.float16]) -> StoredUnit[Any]:
    if kind == "affinities":
        return write_affinities(cache, make_affinities())
    unit = write_unit(cache, make_spec(alpha_bar=0.25), values)
    return unit if kind == "features" else write_codec(cache, unit, kind)


def test_every_key_on_disk_is_documented(stored: StoredUnit[Any]) -> None:
    spec = stored.spec.to_json()
    marker = json.loads((stored.folder / stored.spec.layout.records / "complete.json").read_text())
    search = spec.get("search", {})
    keys = {*spec, *spec.get("request", {}), *search, *search.get("fusions", [{}])[0], *marker}
    assert not [key for key in keys if f"`{key}`" not in PAGE]


def test_every_file_on_disk_is_documented(stored: StoredUnit[Any]) -> None:
    names = {path.name for path in stored.folder.rglob("*") if path.is_file() and "c" not in path.parts}
    assert names == {"zarr.json", "complete.json", "run.json"}
    assert all(name in PAGE for name in names)


def test_arrays_are_as_documented(stored: StoredUnit[Any], kind: str) -> None:
    for array in stored.spec.layout.arrays:
        metadata = json.loads((stored.folder / array.metadata).read_text())
        assert f"`{', '.join(metadata['dimension_names'])}`" in PAGE
        assert f"`{array.name}`" in PAGE
        names = [codec["name"] for codec in metadata["codecs"]]
        assert names == ["bytes", *(name for name, _ in PACKED[kind]), "crc32c"]
        for codec, (_, expected) in zip(metadata["codecs"][1:], PACKED[kind], strict=False):
            assert expected.items() <= codec["configuration"].items()
        assert f"`{metadata['data_type']}`" in PAGE
        frames = [1] if array.per_frame else metadata["shape"][:1]
        assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [*frames, *metadata["shape"][1:]]
