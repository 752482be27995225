"""A plug-in's codec, offered by one entry point, in the store and the commands."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import (
    Cache,
    FeatureChoice,
    FeatureCodec,
    UnitSpec,
    demote,
    open_cache,
    parse_codec,
    plugins,
    verify_unit,
)
from ted.store import codecs as registry
from ted.store.errors import ConfigError, SchemaError
from ted.store.layout import ArrayLayout
from tests.pipeline.conftest import Cli

from ..conftest import damage_chunk, write_codec, write_unit
from ..test_writer import tree
from ..unit_inputs import make_spec


@dataclass(frozen=True, kw_only=True)
class Nearest(FeatureCodec):
    """Vector quantisation: store the index of each pixel's nearest of N vectors, sampled from the first frame."""

    size: int
    family = "nearest"
    notation = "nearest:N"
    dtype = np.float32
    arrays = (
        ArrayLayout(name="features", dimensions=("frame", "y", "x"), dtype="int32", compressor="zstd", fill_value=-1),
        ArrayLayout(name="book", dimensions=("entry", "channel"), dtype="float32"),
    )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        found = re.fullmatch(r"nearest:?(\d+)", text)
        return None if found is None else cls(size=int(found[1]))

    @property
    def name(self) -> str:
        return f"nearest{self.size}"

    @property
    def loss(self) -> tuple[float, float, str]:
        return 5, -self.size, ""

    def bytes_per_cell(self, channels: int) -> float:
        return 4

    def fit(self, frames: Iterable[NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.float32]]:
        rows = next(iter(frames)).astype(np.float32)
        rows = rows.reshape(-1, rows.shape[-1])
        return {"book": rows[np.linspace(0, len(rows) - 1, self.size).astype(int)]}

    def encode(self, features: NDArray[np.float16], parameters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        distances = np.linalg.norm(features.astype(np.float32)[..., None, :] - parameters["book"], axis=-1)
        return {"features": distances.argmin(-1).astype(np.int32)}

    def decode(self, stored: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any]) -> NDArray[np.floating[Any]]:
        values: NDArray[np.float32] = parameters["book"][stored["features"]]
        return values


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate an installed package that offers the codec."""
    offer = EntryPoint("nearest", f"{__name__}:Nearest", "ted.codecs")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [offer] if group == "ted.codecs" else [])
    monkeypatch.setattr(registry, "_CODECS", list(registry._CODECS))


@pytest.fixture
def spec() -> UnitSpec:
    return make_spec()


@pytest.mark.usefixtures("installed")
def test_through_the_store(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    unit = write_unit(cache, spec, values)
    stored = write_codec(cache, unit, "nearest:12")
    codec = stored.spec.codec
    assert codec == Nearest(size=12)
    assert json.loads((stored.folder / "zarr.json").read_text())["attributes"]["ted"]["form"] == "nearest12"
    book = values[0].reshape(-1, 6).astype(np.float32)
    np.testing.assert_array_equal(stored.features[0].compute(), book.reshape(3, 4, 6))
    distances = np.linalg.norm(values[3, 1, 2].astype(np.float32) - book, axis=1)
    np.testing.assert_array_equal(stored.features[3, 1, 2].compute(), book[distances.argmin()])
    assert stored.shape == values.shape
    assert stored.features.dtype == np.float32
    # Damage is detected, refused and repaired.
    before = tree(stored.folder)
    damage_chunk(stored.folder, "features/c/3/0/0", "flip")
    assert verify_unit(stored.folder).state == "damaged"
    demote(stored.folder)
    with cache.writer(stored.spec) as writer:
        assert writer.done == {0, 1, 2, 4}
        writer.write(3, values[3])
        writer.finish({})
    assert tree(stored.folder) == before
    # It loses more than float16, and is read if the float16 unit is absent.
    choice = FeatureChoice(backbone="adm", timestep=51, tap="up_blocks[2]")
    assert cache.find("davis", "swan", choice).folder == unit.folder
    cache.remove(unit.folder)
    assert cache.find("davis", "swan", choice).folder == stored.folder


@pytest.mark.usefixtures("installed")
def test_through_the_commands(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    common = ("--cache", tmp_path / "cache", "--json")
    extract = ("extract", davis_source, "--videos", "one", "--feature", "rgb:0:stride8", "--frame-size", 64, *common)
    assert cli(*extract).code == 0
    converted = json.loads(cli("cache", "convert", "--to", "nearest:40", *common).out)
    (row,) = converted["units"]
    assert converted["form"] == "nearest40"
    assert 0 < row["measured"]["mask_agreement"] < 1
    (listed,) = json.loads(cli("cache", "ls", "--form", "nearest:40", *common).out)
    assert (listed["form"], listed["state"]) == ("nearest40", "complete")
    assert "error:" in cli("cache", "info", "--form", "nearest40", "--cache", tmp_path / "cache").out
    assert cli("cache", "verify", *common).code == 0
    assert cli("cache", "copy", tmp_path / "other", "--form", "nearest:40", *common).code == 0
    assert [entry.spec.form for entry in open_cache(tmp_path / "other").entries()] == ["nearest40"]
    # Extract directly into the codec, and propagate with it alone.
    stored = (*extract[:-3], "--store-as", "nearest:40", "--cache", tmp_path / "new", "--json")
    assert len(json.loads(cli(*stored).out)["written"]) == 1
    (unit,) = open_cache(tmp_path / "new").units()
    assert unit.spec.codec == Nearest(size=40)
    out = ("--cache", tmp_path / "new", "--out", tmp_path / "r", "--feature", "rgb:0:stride8=1", "--radius", 2)
    assert cli("propagate", davis_source, "--videos", "one", *out).code == 0
    assert cli("cache", "rm", "--form", "nearest:40", "--yes", *common).code == 0
    assert [entry.spec.form for entry in open_cache(tmp_path / "cache").entries()] == ["float16"]


def test_without_the_plug_in_the_unit_is_refused_and_left_alone(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_CODECS", [*registry._CODECS, Nearest])
        folder = write_codec(cache, write_unit(cache, spec, values), "nearest:4").folder
    with pytest.raises(SchemaError, match=r"stored as 'nearest4'.*install the plug-in"):
        demote(folder)
    assert verify_unit(folder).state == "damaged"
    assert [entry.spec.form for entry in cache.entries()] == ["float16"]


def test_offers_that_are_no_codec_or_do_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("pathlib:Path", "no_such_module:Codec", "json:dumps"):
        offers = [EntryPoint("nearest", value, "ted.codecs")]
        monkeypatch.setattr(plugins, "entry_points", lambda group, offers=offers: offers)
        with pytest.raises(ConfigError, match="the plug-in"):
            parse_codec("nearest:3")
        with pytest.raises(ConfigError, match=r"there is no codec 'other'.*nearest"):
            parse_codec("other")


def test_a_family_has_one_codec() -> None:
    class Other(Nearest):
        family = "int8"

    with pytest.raises(ConfigError, match="already"):
        registry.register_codec(Other)
