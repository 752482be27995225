"""Converting units: the same whether disturbed or not, the error recorded, the source removed only when it may be."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.pipeline.runs.converting.codec_error import measure_error
from ted.pipeline.runs.converting.converting import ERROR_FRAMES, convert_unit, remove_source
from ted.store import Cache, Unit, UnitSpec, UnitWriter, open_cache, parse_codec, verify_unit
from ted.store.codecs import Pca
from ted.store.errors import CacheError, ConfigError, CorruptUnitError
from tests.store.conftest import damage_chunk, make_spec, write_unit
from tests.store.test_writer import tree

COUNT = 11


@pytest.fixture
def values() -> NDArray[np.float16]:
    return np.random.default_rng(3).standard_normal((COUNT, 3, 4, 6)).astype(np.float16)


@pytest.fixture
def spec() -> UnitSpec:
    return make_spec(frame_names=tuple(map(str, range(COUNT))))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(tmp_path / "cache", create=True)


@pytest.fixture
def unit(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> Unit:
    return write_unit(cache, spec, values)


@pytest.mark.parametrize("notation", ["int8", "bitround:4", "pca:2"])
def test_the_record_says_what_was_measured_on_the_stored_features(
    cache: Cache, unit: Unit, values: NDArray[np.float16], notation: str
) -> None:
    seen: list[int] = []
    mask = np.zeros(unit.spec.source_size, np.uint8)
    mask[10:30, 10:40] = 1
    report = convert_unit(cache, unit, parse_codec(notation), first_mask=mask, progress=seen.append)
    stored = Unit(report.folder)
    expected = measure_error(
        values[:ERROR_FRAMES],
        stored.features[:ERROR_FRAMES].compute(),
        frame_size=unit.frame_size,
        source_size=unit.spec.source_size,
        first_mask=mask,
    )
    assert stored.run_record["error"] == report.error == expected.to_json()
    assert stored.run_record["host"] == "here"  # of the run that made the features
    assert stored.run_record["conversion"]["versions"].keys() >= {"zarr", "numcodecs"}
    assert (report.source_bytes, report.bytes) == (unit.marker.total_bytes, stored.marker.total_bytes)
    assert sum(seen) == COUNT
    again = convert_unit(cache, unit, parse_codec(notation))
    assert again.skipped
    assert not report.skipped
    assert again.error == report.error


@pytest.mark.parametrize("notation", ["int8", "bitround:4", "pca:2"])
@pytest.mark.parametrize("after", [0, 9])
def test_an_interrupted_conversion_ends_as_an_undisturbed_one(
    tmp_path: Path, cache: Cache, unit: Unit, notation: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = parse_codec(notation)
    undisturbed = open_cache(tmp_path / "undisturbed", create=True)
    convert_unit(undisturbed, unit, form)
    write = UnitWriter.write

    def fail(writer: UnitWriter, frame: int, features: NDArray[Any]) -> None:
        if frame == after:
            raise KeyboardInterrupt
        write(writer, frame, features)
        writer.commit()

    with monkeypatch.context() as patch:
        patch.setattr(UnitWriter, "write", fail)
        with pytest.raises(KeyboardInterrupt):
            convert_unit(cache, unit, form)
    assert cache.state(replace(unit.spec, form=form.name)) == "incomplete"
    report = convert_unit(cache, unit, form)
    assert tree(report.folder) == tree(report.spec.folder(undisturbed.root))
    assert verify_unit(report.folder).state == "ok"


def test_a_damaged_unit_is_made_whole_again(cache: Cache, unit: Unit) -> None:
    report = convert_unit(cache, unit, parse_codec("int8"))
    before = tree(report.folder)
    damage_chunk(report.folder, "scale/c/3/0/0", "truncate")
    assert not convert_unit(cache, unit, parse_codec("int8")).skipped
    assert tree(report.folder) == before
    (report.folder / "features/ted/complete.json").write_text("{}")
    convert_unit(cache, unit, parse_codec("int8"))
    assert tree(report.folder) == before


def test_a_unit_of_other_features_is_replaced_on_request_only(
    cache: Cache, unit: Unit, values: NDArray[np.float16]
) -> None:
    convert_unit(cache, unit, parse_codec("int8"))
    cache.remove(unit.folder)
    other = write_unit(cache, unit.spec, values + np.float16(1))
    with pytest.raises(CacheError, match="--overwrite"):
        convert_unit(cache, other, parse_codec("int8"))
    report = convert_unit(cache, other, parse_codec("int8"), overwrite=True)
    assert Unit(report.folder).spec.source == other.content_hash


def test_only_float16_is_converted(cache: Cache, unit: Unit) -> None:
    stored = Unit(convert_unit(cache, unit, parse_codec("int8")).folder)
    with pytest.raises(ConfigError, match="only float16"):
        convert_unit(cache, stored, parse_codec("pca:2"))
    with pytest.raises(ConfigError, match="only float16"):
        convert_unit(cache, unit, parse_codec("float16"))


def test_a_staged_unit_becomes_what_it_waits_for(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    form = parse_codec("pca:2")
    staged = write_unit(cache, replace(spec, form=form.staging().name), values)
    report = convert_unit(cache, staged, form)
    remove_source(cache, staged, report)
    assert [entry.spec.form for entry in cache.entries()] == ["pca2"]
    assert verify_unit(report.folder).state == "ok"


def test_the_source_stays_where_the_result_is_damaged(cache: Cache, unit: Unit) -> None:
    report = convert_unit(cache, unit, parse_codec("int8"))
    damage_chunk(report.folder, "features/c/3/0/0/0", "flip")
    with pytest.raises(CorruptUnitError, match="therefore stays"):
        remove_source(cache, unit, report)
    assert verify_unit(unit.folder).state == "ok"


def test_given_components_are_stored_under_their_hash(cache: Cache, unit: Unit, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((6, 2)))[0].T.astype(np.float32) for _ in range(2)]
    np.save(tmp_path / "one.npy", bases[0])
    np.savez(tmp_path / "same.npz", components=bases[0].astype(np.float64))
    np.save(tmp_path / "other.npy", bases[1])
    forms = {}
    for name in ("one.npy", "same.npz", "other.npy"):
        form = parse_codec(f"pca:{tmp_path / name}")
        report = convert_unit(cache, unit, form)
        basis = bases[name == "other.npy"]
        np.testing.assert_array_equal(Unit(report.folder).parameters["components"], basis)
        forms[name] = form.name
    assert forms["one.npy"] == forms["same.npz"] != forms["other.npy"]
    assert forms["one.npy"].startswith("pca2-")
    with pytest.raises(ConfigError, match="needs the file with its components"):
        convert_unit(cache, unit, parse_codec("pca2-1a2b3c4d"))
    with pytest.raises(ConfigError, match="have 6 channels"):
        convert_unit(cache, unit, Pca.from_components(np.eye(2, 5)))


def test_a_form_that_cannot_be_leaves_nothing_behind(cache: Cache, unit: Unit) -> None:
    before = tree(cache.root)
    with pytest.raises(ConfigError, match="pca7 has more components"):
        convert_unit(cache, unit, parse_codec("pca:7"))
    assert tree(cache.root) == before


@pytest.mark.parametrize("name", ["absent.npy", "text.npy", "wrong.npz", "ones.npy", "cut.npz", "flipped.npz"])
def test_files_that_hold_no_components_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "wrong.npz", basis=np.eye(3))
    np.save(tmp_path / "ones.npy", np.ones((2, 3)))
    np.savez_compressed(tmp_path / "whole.npz", components=np.eye(3))
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    data[60:70] = bytes(10)
    (tmp_path / "flipped.npz").write_bytes(data)
    with pytest.raises(ConfigError, match=name):
        parse_codec(f"pca:{tmp_path / name}")


def test_fitting_reads_frames_one_by_one_in_any_number(unit: Unit, values: NDArray[np.float16]) -> None:
    for notation in ("int8", "pca:3"):
        form = parse_codec(notation)
        streamed, whole = form.fit(iter(values)), form.fit([values.reshape(1, -1, 6)[0][None]])
        for name, array in streamed.items():
            np.testing.assert_allclose(array, whole[name], rtol=1e-5, atol=1e-6)


def test_a_video_of_one_frame_is_converted(cache: Cache, values: NDArray[np.float16]) -> None:
    unit = write_unit(cache, make_spec(frame_names=("0",)), values[:1])
    report = convert_unit(cache, unit, parse_codec("int8"))
    assert report.error["mask_agreement"] is None
    shutil.rmtree(unit.folder)
    np.testing.assert_allclose(Unit(report.folder).features.compute(), values[:1], atol=0.05)
