"""Units of every codec in a cache: write, read, damage, resume and choose them."""

import pickle
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray
from numpy.typing import NDArray

from ted.store import Cache, FeatureChoice, Unit, UnitSpec, demote, open_cache, parse_codec, verify_unit
from ted.store.errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError, SchemaError, UnitNotFoundError

from ..conftest import damage_chunk, raises_with_hint, write_codec, write_unit
from ..test_writer import tree
from ..unit_inputs import make_spec

CHOICE = FeatureChoice(backbone="adm", timestep=51, tap="up_blocks[2]")
FORMS = ("int8", "bitround:7", "bitround:10", "pca:3", "pca:6")
PER_FRAME = {
    "int8": ["features/c/3/0/0/0", "scale/c/3/0/0"],
    "bitround:7": ["features/c/3/0/0/0"],
    "pca:3": ["features/c/3/0/0/0"],
}
SHARED = {
    "int8": ["channel_mean/c/0", "channel_scale/c/0", "scale/zarr.json", "channel_mean/zarr.json"],
    "bitround:7": ["features/zarr.json", "zarr.json"],
    "pca:3": ["components/c/0/0", "components/zarr.json", "zarr.json"],
}


def read_all(folder: Path) -> None:
    unit = Unit(folder)
    dask.compute(unit.features, unit.reconstruction, scheduler="synchronous")


@pytest.mark.parametrize("notation", FORMS)
def test_what_is_read_is_what_the_form_makes_of_the_features(
    cache: Cache, unit: Unit, values: NDArray[np.float16], notation: str
) -> None:
    stored = write_codec(cache, unit, notation)
    form = parse_codec(notation)
    parameters = form.fit(values)
    expected = form.decode(form.encode(values, parameters), parameters)
    assert stored.shape == expected.shape
    assert stored.features.dtype == expected.dtype
    assert stored.features.chunksize == (1, *expected.shape[1:])
    np.testing.assert_array_equal(stored.features.compute(), expected)
    np.testing.assert_array_equal(stored.features[2, 1:, :, -1].compute(), expected[2, 1:, :, -1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored.features[1:3])).compute(), expected[1:3])
    assert verify_unit(stored.folder).state == "ok"
    assert stored.spec.source == unit.content_hash
    assert stored.provenance["source"] == unit.content_hash
    assert form.name in stored.spec.label
    assert "float16" not in unit.spec.label


@pytest.mark.parametrize("notation", FORMS)
def test_all_channels_can_be_had_back(cache: Cache, unit: Unit, values: NDArray[np.float16], notation: str) -> None:
    found = write_codec(cache, unit, notation).reconstruction
    assert found.shape == values.shape
    if notation == "pca:3":
        components = parse_codec(notation).fit(values)["components"].astype(np.float64)
        np.testing.assert_allclose(found.compute(), values.astype(np.float64) @ components.T @ components, atol=5e-3)
    else:
        np.testing.assert_allclose(found.compute(), values, atol=0.02)


@pytest.mark.parametrize("notation", FORMS)
def test_xarray_opens_every_form_without_a_warning(cache: Cache, unit: Unit, notation: str) -> None:
    stored = write_codec(cache, unit, notation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(stored.folder, consolidated=False, zarr_format=3).load()
    assert {name: array.dims for name, array in dataset.items()} == {
        array.name: array.dimensions for array in stored.spec.layout.arrays
    }
    values = dataset["features"]
    if notation == "int8":  # decoded in plain xarray by the formula of docs/reference/storage-format.md
        values = (values * dataset["scale"] * dataset["channel_scale"] + dataset["channel_mean"]).where(
            dataset["scale"] != 0, 0
        )
    np.testing.assert_allclose(values, stored.features.compute(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap", "extend"])
@pytest.mark.parametrize(("notation", "key"), [(form, key) for form, keys in PER_FRAME.items() for key in keys])
def test_a_damaged_frame_is_refused_found_and_redone(
    cache: Cache, unit: Unit, notation: str, key: str, damage: str
) -> None:
    stored = write_codec(cache, unit, notation)
    before = tree(stored.folder)
    damage_chunk(stored.folder, key, damage)
    with raises_with_hint(CorruptUnitError, Hint("repair", {"maker": "conversion"})):
        stored.features[3].compute(scheduler="synchronous")
    stored.features[0].compute(scheduler="synchronous")
    verdict = verify_unit(stored.folder)
    assert verdict.state == "damaged"
    assert any(key in problem for problem in verdict.problems)
    demote(stored.folder)
    with cache.writer(stored.spec) as writer:
        assert writer.done == {0, 2, 4} | ({1} if damage != "swap" else set())
        np.testing.assert_equal(writer.parameters, stored.parameters)
        for frame in {1, 3} - writer.done:
            writer.write(frame, unit.features[frame].compute())
        writer.finish({})
    assert tree(stored.folder) == before


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap"])
@pytest.mark.parametrize(("notation", "key"), [(form, key) for form, keys in SHARED.items() for key in keys])
def test_damage_to_what_all_frames_share_is_refused_and_repaired(
    cache: Cache, unit: Unit, notation: str, key: str, damage: str
) -> None:
    stored = write_codec(cache, unit, notation)
    before = tree(stored.folder)
    path = stored.folder / key
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[:-3] if damage == "truncate" else data)
    if damage == "swap":
        other = next(stored.folder / name for name in sorted(before) if name != key and before[name] != before[key])
        path.write_bytes(other.read_bytes())
    if damage == "delete":
        path.unlink()
    with pytest.raises((CorruptUnitError, SchemaError)):
        read_all(stored.folder)
    assert verify_unit(stored.folder).state == "damaged"
    demote(stored.folder)
    with cache.writer(stored.spec) as writer:
        if key.endswith("zarr.json"):  # restored from the marker
            assert len(writer.done) == 5
            writer.finish({})
        else:  # frames cannot be decoded without the lost file
            assert writer.done == set()
            assert not writer.parameters
    if not key.endswith("zarr.json"):
        write_codec(cache, unit, notation)
    assert tree(stored.folder) == before


@pytest.mark.parametrize("notation", ["int8", "bitround:7", "pca:3"])
def test_a_resumed_unit_equals_an_undisturbed_one(
    tmp_path: Path, spec: UnitSpec, values: NDArray[np.float16], notation: str
) -> None:
    caches = [open_cache(tmp_path / name, create=True) for name in "ab"]
    sources = [write_unit(cache, spec, values) for cache in caches]
    write_codec(caches[0], sources[0], notation)
    form = parse_codec(notation)
    target = replace(spec, form=form.name, source=sources[1].content_hash)
    parameters = form.fit(values)
    with caches[1].writer(target) as writer:
        if parameters:
            writer.set_parameters(parameters)
        writer.write(2, values[2])
        writer.commit()
        writer.write(0, values[1])  # not committed, and wrong
    with caches[1].writer(target) as writer:
        assert writer.done == {2}
        np.testing.assert_equal(writer.parameters, parameters)
        for frame in (4, 3, 1, 0):
            writer.write(frame, values[frame])
        writer.finish({})
    assert tree(caches[0].root) == tree(caches[1].root)


def test_parameters_come_first_once_and_fit(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    with cache.writer(replace(unit.spec, form="pca3")) as writer:
        with pytest.raises(CacheError, match="needs `set_parameters`"):
            writer.write(0, values[0])
        with pytest.raises(CacheError, match="takes components"):
            writer.set_parameters({"channel_mean": np.zeros(6)})
        with pytest.raises(CacheError, match="finite"):
            writer.set_parameters({"components": np.full((3, 6), np.nan)})
        writer.set_parameters({"components": np.eye(3, 6)})
        with pytest.raises(CacheError, match="once"):
            writer.set_parameters({"components": np.eye(3, 6)})
        with pytest.raises(CacheError, match="for 6 channels"):
            writer.write(0, values[0, :, :, :5])
    with cache.writer(replace(unit.spec, form="bitround3")) as writer, pytest.raises(CacheError, match="no parameters"):
        writer.set_parameters({"components": np.eye(3, 6)})


def test_components_too_large_for_float16_are_refused(cache: Cache, spec: UnitSpec) -> None:
    with cache.writer(replace(spec, form="pca1")) as writer:
        writer.set_parameters({"components": np.full((1, 6), 6**-0.5)})
        with pytest.raises(CacheError, match="features too large for pca1"):
            writer.write(0, np.full((3, 4, 6), 60000.0))
        assert not writer.done


def test_frames_of_other_features_are_not_mixed_in(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    spec = replace(unit.spec, form="bitround7", source="a" * 64)
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.commit()
    with cache.writer(replace(spec, source="b" * 64)) as writer:
        assert writer.done == set()


def test_what_another_form_left_in_a_folder_is_cleared(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    stored = write_codec(cache, unit, "int8")
    shutil.rmtree(unit.folder)
    stored.folder.rename(unit.folder)
    assert verify_unit(unit.folder).state == "damaged"
    demote(unit.folder)
    again = write_unit(cache, unit.spec, values)
    assert {path.name for path in again.folder.iterdir()} == {"features", "zarr.json"}
    np.testing.assert_array_equal(again.features.compute(), values)


def _rename_form(unit: Unit, name: str) -> Path:
    """Rename a unit's codec to an unknown one, in its description and in its folder's name."""
    path = unit.folder / "zarr.json"
    path.write_text(path.read_text().replace(f'"form": "{unit.spec.form}"', f'"form": "{name}"'))
    return unit.folder.rename(unit.folder.with_name(name))


def test_a_form_of_another_version_is_refused_and_left_alone(
    cache: Cache, unit: Unit, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _rename_form(write_codec(cache, unit, "int8"), "vq4096")
    with pytest.raises(SchemaError, match=r"'vq4096', which this version does not know: upgrade"):
        Unit(folder)
    with pytest.raises(SchemaError, match="upgrade"):
        demote(folder)
    assert (folder / "features/ted/complete.json").is_file()
    assert [entry.spec.form for entry in cache.entries()] == ["float16"]
    assert "vq4096" in caplog.text
    assert cache.find("davis", "swan", CHOICE).folder == unit.folder


def test_float16_is_written_as_ever(unit: Unit) -> None:
    files = unit.marker.files
    assert files["zarr.json"].sha256 == "ab73a5e7744252474819b4b47ff24e790cd4632dbedae28e76e9316e40da3a89"
    assert files["features/c/0/0/0/0"].sha256 == "fcbd4c9d446b488aedf089a9fa0c682b9769c90536e301d9c450201beb30c530"
    assert unit.marker.digest == "1632cb0ed24ea89b2a84a875c35017963c524bb2d9fae260a7676356c5f69071"


def test_the_most_faithful_form_is_found(cache: Cache, unit: Unit) -> None:
    others = {notation: write_codec(cache, unit, notation) for notation in ("pca:3", "int8", "bitround:7", "pca:6")}
    assert cache.find("davis", "swan", CHOICE).folder == unit.folder
    for notation in ("pca:3", "int8"):
        form = parse_codec(notation).name
        assert cache.find("davis", "swan", CHOICE, prefer=[("form", form)]).folder == others[notation].folder
    assert cache.find("davis", "swan", CHOICE, prefer=[("form", "pca5")]).folder == unit.folder
    for notation, left in (("", "bitround:7"), ("bitround:7", "int8"), ("int8", "pca:6"), ("pca:6", "pca:3")):
        cache.remove(others[notation].folder if notation else unit.folder)
        assert cache.find("davis", "swan", CHOICE).folder == others[left].folder
    assert len(cache.units()) == 1


def test_several_requests_are_ambiguous_in_any_form(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    write_codec(cache, unit, "int8")
    other = write_codec(cache, write_unit(cache, make_spec(seed=1), values), "int8")
    with pytest.raises(UnitNotFoundError, match="differ in these fields"):
        cache.find("davis", "swan", CHOICE)
    found = cache.find("davis", "swan", CHOICE, prefer=[("form", "int8"), ("seed", "1")])
    assert found.folder == other.folder


def test_staging_is_listed_and_never_found(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    staged = write_unit(cache, replace(spec, form=parse_codec("int8").staging().name), values)
    np.testing.assert_array_equal(staged.features.compute(), values)
    assert verify_unit(staged.folder).state == "ok"
    assert [entry.spec.form for entry in cache.entries()] == ["float16-for-int8"]
    assert cache.units() == []
    with raises_with_hint(IncompleteUnitError, Hint("resume", {"maker": "extraction"})):
        cache.find("davis", "swan", CHOICE)
    with pytest.raises(IncompleteUnitError):
        cache.find("davis", "swan", CHOICE, prefer=[("form", "float16-for-int8")])
    stored = write_codec(cache, staged, "int8")
    assert cache.find("davis", "swan", CHOICE).folder == stored.folder


@pytest.mark.parametrize(("notation", "most"), [("int8", 0.51), ("bitround:7", 0.8), ("pca:64", 0.1)])
def test_frames_of_the_papers_channels_take_the_share_that_is_promised(
    cache: Cache, spec: UnitSpec, notation: str, most: float
) -> None:
    values = np.random.default_rng(0).standard_normal((5, 8, 10, 640)).astype(np.float16)
    stored = write_codec(cache, write_unit(cache, spec, values), notation)
    chunks = [key for frame in range(5) for key in stored.spec.layout.chunk_keys(frame)]
    size = sum(stored.marker.files[key].bytes for key in chunks)
    assert size - 4 * len(chunks) <= most * values.nbytes  # without the checksums' four bytes
