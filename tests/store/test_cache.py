import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray
from numpy.typing import NDArray

from ted.store import Cache, FeatureChoice, Unit, UnitSpec, open_cache
from ted.store.errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError, SchemaError, UnitNotFoundError

from .conftest import damage_chunk, raises_with_hint, write_unit
from .unit_inputs import make_spec

CHOICE = FeatureChoice(backbone="adm", timestep=51, tap="up_blocks[2]")


def test_what_is_written_is_read(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    found = cache.find("davis", "swan", CHOICE)
    assert found.shape == values.shape
    assert found.features.chunksize == (1, *values.shape[1:])
    np.testing.assert_array_equal(found.features.compute(), values)
    np.testing.assert_array_equal(found.features[2, 1:, :, 3].compute(), values[2, 1:, :, 3])
    assert found.provenance["request"]["weights"] == "sha256:00"
    assert found.run_record == {"host": "here"}
    assert cache.videos() == [("davis", "swan")]
    assert [entry.state for entry in cache.entries()] == ["complete"]


def test_xarray_opens_a_unit_without_a_warning(unit: Unit, values: NDArray[np.float16]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(unit.folder, consolidated=False, zarr_format=3)
    assert dataset["features"].dims == ("frame", "y", "x", "channel")
    np.testing.assert_array_equal(dataset["features"].values, values)
    assert dataset.attrs["ted"]["tap"] == "up_blocks[2]"


def test_dask_names_follow_the_content(tmp_path: Path, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    same = [write_unit(open_cache(tmp_path / name, create=True), spec, values).features.name for name in "ab"]
    other = write_unit(open_cache(tmp_path / "c", create=True), spec, values + np.float16(1)).features.name
    assert same[0] == same[1] != other


def test_features_can_be_sent_to_other_processes(unit: Unit, values: NDArray[np.float16]) -> None:
    copy = pickle.loads(pickle.dumps(unit.features))
    np.testing.assert_array_equal(copy.compute(), values)
    with dask.config.set(scheduler="processes"):
        np.testing.assert_array_equal(unit.features[:2].compute(), values[:2])


def test_find_says_what_there_is(cache: Cache, unit: Unit) -> None:
    with pytest.raises(UnitNotFoundError, match=r"adm@\w{8}:51:up_blocks\[2\]"):
        cache.find("davis", "swan", FeatureChoice(backbone="adm", timestep=52, tap="up_blocks[2]"))


def test_find_wants_a_digest_where_several_fit(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    other = write_unit(cache, make_spec(seed=1), values)
    with raises_with_hint(UnitNotFoundError, Hint("prefer")):
        cache.find("davis", "swan", CHOICE)
    digest = other.request.digest()[:8]
    choice = FeatureChoice(backbone="adm", timestep=51, tap="up_blocks[2]", digest=digest)
    assert cache.find("davis", "swan", choice).folder == other.folder


def test_artifacts_choose_between_features(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    request = replace(unit.request, conditioning={"artifacts": {"token": "ab"}})
    conditioned = write_unit(cache, make_spec(request=request), values)
    with pytest.raises(UnitNotFoundError, match="artifacts token"):
        cache.find("davis", "swan", CHOICE)
    for name, found in (("token", conditioned), ("none", unit)):
        assert cache.find("davis", "swan", CHOICE, prefer=[("artifacts", name)]).folder == found.folder


def test_an_incomplete_unit_is_refused(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.commit()
    with raises_with_hint(IncompleteUnitError, Hint("resume", {"maker": "extraction"})):
        cache.find("davis", "swan", CHOICE)
    with pytest.raises(IncompleteUnitError):
        Unit(spec.folder(cache.root))
    assert [entry.state for entry in cache.entries()] == ["incomplete"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap", "extend"])
def test_a_damaged_chunk_is_refused(unit: Unit, damage: str) -> None:
    damage_chunk(unit.folder, "features/c/3/0/0/0", damage)
    with raises_with_hint(CorruptUnitError, Hint("repair", {"maker": "extraction"})):
        unit.features[3].compute()
    np.testing.assert_equal(unit.features[0].compute().shape, unit.shape[1:])


def test_damaged_metadata_is_refused(unit: Unit) -> None:
    path = unit.folder / "features/zarr.json"
    path.write_text(path.read_text().replace('"fill_value": "NaN"', '"fill_value": 0.0'))
    with pytest.raises(CorruptUnitError, match="checksum differs"):
        Unit(unit.folder)


def test_edited_attributes_are_refused(unit: Unit) -> None:
    path = unit.folder / "zarr.json"
    path.write_text(path.read_text().replace("sha256:00", "sha256:01"))
    with pytest.raises(CorruptUnitError):
        Unit(unit.folder)


def test_an_edited_marker_is_refused(unit: Unit) -> None:
    path = unit.folder / "features/ted/complete.json"
    body = json.loads(path.read_text())
    body["files"].pop("features/c/0/0/0/0")
    path.write_text(json.dumps(body))
    with pytest.raises(CorruptUnitError, match="marker"):
        Unit(unit.folder)


def test_a_newer_schema_is_refused(cache: Cache, unit: Unit) -> None:
    path = unit.folder / "zarr.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(SchemaError, match="upgrade"):
        Unit(unit.folder)


def test_an_open_reader_notices_that_its_unit_was_removed(cache: Cache, unit: Unit) -> None:
    features = unit.features
    features[0].compute()
    cache.remove(unit.folder)
    with pytest.raises(CorruptUnitError, match="is missing"):
        features[1].compute()
    assert cache.videos() == []
    assert cache.root.is_dir()


def test_an_open_reader_notices_that_its_unit_was_overwritten(
    cache: Cache, unit: Unit, values: NDArray[np.float16]
) -> None:
    features = unit.features
    with cache.writer(unit.spec, overwrite=True) as writer:
        for frame in range(len(values)):
            writer.write(frame, values[frame] if frame else values[frame] + np.float16(1))
        writer.finish({})
    with pytest.raises(CorruptUnitError, match="checksum differs"):
        features[0].compute()
    np.testing.assert_array_equal(features[1].compute(), values[1])  # equal content may be read


def test_removing_one_unit_keeps_its_neighbours(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    other = write_unit(cache, make_spec(timestep=300), values)
    cache.remove(unit.folder)
    assert [entry.folder for entry in cache.entries()] == [other.folder]


def test_opening_what_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="there is no cache"):
        open_cache(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError, match="is a file"):
        open_cache(tmp_path / "file", create=True)
    with pytest.raises(CacheError, match="URL"):
        open_cache("s3://bucket/cache")


def test_hostile_names_stay_inside_the_cache(cache: Cache, values: NDArray[np.float16], tmp_path: Path) -> None:
    before = {path for path in tmp_path.iterdir() if path != cache.root}
    spec = make_spec(dataset="../../x", video="../up/../../and away")
    write_unit(cache, spec, values)
    assert {path for path in tmp_path.iterdir() if path != cache.root} == before
    assert cache.videos() == [("../../x", "../up/../../and away")]
