"""Affinity units: what is written is read, what is not as it was written is refused, what was begun is resumed."""

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from ted.store import AffinitySpec, AffinityUnit, AffinityWriter, Cache, open_cache, verify_unit
from ted.store.errors import (
    CacheError,
    ClaimedError,
    ConfigError,
    CorruptUnitError,
    IncompleteUnitError,
    SchemaError,
)
from ted.store.integrity import demote
from ted.store.marker import Marker, read_marker, record_file, write_marker

from .conftest import SEARCH, damage_chunk, make_affinities, make_frames, make_spec, write_affinities, write_unit
from .test_writer import tree

MARKER = "sources/ted/complete.json"


def assert_equal(unit: AffinityUnit) -> None:
    for frame, values in enumerate(make_frames(unit.spec)):
        for read, wanted in zip(unit.read(frame), values, strict=True):
            assert read.dtype == wanted.dtype
            np.testing.assert_array_equal(read, wanted)


@pytest.fixture
def affinities(cache: Cache) -> AffinityUnit:
    return write_affinities(cache, make_affinities())


def test_what_is_written_is_read(cache: Cache, affinities: AffinityUnit) -> None:
    assert_equal(affinities)
    assert cache.affinity_state(affinities.spec) == "complete"
    (entry,) = cache.affinities()
    assert (entry.state, entry.bytes, entry.spec) == ("complete", affinities.marker.total_bytes, make_affinities())
    assert entry.open().content_hash == affinities.content_hash
    assert cache.affinities("davis", "swan") == cache.affinities("davis") == [entry]
    assert cache.affinities("davis", "dog") == cache.affinities("other") == []
    assert affinities.provenance["run"] == {"host": "here"}
    assert verify_unit(affinities.folder).state == "ok"


def test_features_do_not_list_affinities(cache: Cache, affinities: AffinityUnit) -> None:
    assert not cache.entries() + cache.units() + cache.videos() + list(cache.folders())
    write_unit(cache, make_spec(), np.ones((5, 3, 4, 6), np.float16))
    assert len(cache.entries()) == len(cache.affinities()) == 1


def test_a_unit_can_be_sent_to_other_processes(affinities: AffinityUnit) -> None:
    affinities.read(1)
    assert_equal(pickle.loads(pickle.dumps(affinities)))


def test_a_copy_outside_of_a_cache_can_be_read(affinities: AffinityUnit, tmp_path: Path) -> None:
    shutil.copytree(affinities.folder, tmp_path / "copy")
    assert_equal(AffinityUnit(tmp_path / "copy"))


def test_zarr_and_xarray_open_a_unit_without_a_warning(cache: Cache, affinities: AffinityUnit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(affinities.folder, consolidated=False, zarr_format=3)
        video: Any = zarr.open_group(cache.root / "davis/swan.zarr", mode="r", zarr_format=3, use_consolidated=False)
        members = {path for path, _ in video.members(max_depth=None)}
    assert dataset["cosines"].dims == ("frame", "part", "pixel", "slot")
    assert dataset["bounds"].dims == ("frame", "fusion", "pixel")
    name = f"affinities/{affinities.folder.name}"
    assert members == {"affinities", name, *(f"{name}/{array}" for array in ("sources", "cosines", "bounds"))}
    sources, cosines, _ = make_frames(affinities.spec)[4]
    np.testing.assert_array_equal(dataset["sources"].values[4], sources)
    np.testing.assert_array_equal(dataset["cosines"].values[4], cosines)


def test_the_digest_is_of_what_determines_the_values() -> None:
    spec = make_affinities()
    values = {"features": list(spec.features), "frame_count": 5, "grid": [3, 4], "search": SEARCH}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert spec.digest() == hashlib.sha256(text.encode()).hexdigest()
    same = make_affinities(feature_labels=("x", "y"), slots=9, dataset="d", video="v")
    assert same.digest() == spec.digest()


def test_specs_survive_json() -> None:
    spec = make_affinities()
    values = json.loads(json.dumps(spec.to_json()))
    assert AffinitySpec.from_json(values, Path("x")) == spec
    with pytest.raises(SchemaError, match=r"format 2.*upgrade"):
        AffinitySpec.from_json(values | {"schema_version": 2}, Path("x"))
    with pytest.raises(CorruptUnitError, match="holds features in a place for affinities"):
        AffinitySpec.from_json(make_spec().to_json(), Path("x"))


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": "4"}, {"slots": 0}, {"frame_count": 5.0}, {"grid": [3]}, {"grid": 3}, {"features": []},
        {"feature_labels": [1, 2]}, {"search": []}, {"search": {}}, {"search": SEARCH | {"fusions": []}},
        {"search": SEARCH | {"fusions": [1]}}, {"video": None},
    ],
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="no readable description"):
        AffinitySpec.from_json(make_affinities().to_json() | changes, Path("x"))


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="slots"):
        make_affinities(slots=0)
    with pytest.raises(ConfigError, match="label"):
        make_affinities(feature_labels=("one",))


def test_a_resumed_unit_equals_an_undisturbed_one(tmp_path: Path) -> None:
    spec = make_affinities()
    frames = make_frames(spec)
    write_affinities(open_cache(tmp_path / "a", create=True), spec)
    cache = open_cache(tmp_path / "b", create=True)
    with cache.affinity_writer(spec) as writer:
        for frame in (0, 1, 2):
            writer.write(frame, *frames[frame])
        writer.commit()
        writer.write(3, *frames[4])  # written, not committed: to be done again
    with pytest.raises(IncompleteUnitError, match="run the same `ted propagate` or `ted sweep` again"):
        AffinityUnit(spec.folder(cache.root))
    assert [entry.state for entry in cache.affinities()] == [cache.affinity_state(spec)] == ["incomplete"]
    (spec.folder(cache.root) / "bounds/c/1/0/0").write_bytes(b"torn")
    (spec.folder(cache.root) / "cosines/c/3/x.partial").write_bytes(b"torn")
    with cache.affinity_writer(spec) as writer:
        assert writer.done == {0, 2}  # of frame 1 two of three chunks are whole
        for frame in (4, 1, 3):
            writer.write(frame, *frames[frame])
        writer.finish({})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_frame_of_fill_values_is_stored_on_resuming(cache: Cache) -> None:
    spec = make_affinities()
    with cache.affinity_writer(spec) as writer:
        writer.write(1, *make_frames(spec)[1])
        writer.commit()
    with cache.affinity_writer(spec) as writer:
        assert writer.done == {1}
        writer.write_empty(0)
        writer.commit()
        assert (writer.folder / "sources/c/0/0/0").is_file()


def test_frames_with_another_number_of_slots_are_not_resumed(cache: Cache) -> None:
    with cache.affinity_writer(make_affinities(slots=6)) as writer:
        writer.write_empty(0)
        writer.commit()
    with cache.affinity_writer(make_affinities()) as writer:
        assert writer.done == frozenset()
    assert_equal(write_affinities(cache, make_affinities()))


def test_a_writer_stopped_while_it_discards_leaves_nothing_to_be_mistaken(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.affinity_writer(make_affinities(slots=6)) as writer:
        writer.write_empty(0)
        writer.commit()
    with monkeypatch.context() as patch:
        patch.setattr(AffinityWriter, "_find_written", lambda self: 1 / 0)  # after the description was replaced
        with pytest.raises(ZeroDivisionError), cache.affinity_writer(make_affinities()):
            pass
    with cache.affinity_writer(make_affinities()) as writer:
        assert writer.done == frozenset()


def test_damaged_metadata_of_one_array_starts_the_unit_over(cache: Cache) -> None:
    spec = make_affinities()
    with cache.affinity_writer(spec) as writer:
        writer.write_empty(0)
        writer.commit()
    (spec.folder(cache.root) / "bounds/zarr.json").write_text("{}")
    with cache.affinity_writer(spec) as writer:
        assert writer.done == frozenset()
    assert_equal(write_affinities(cache, spec))


def test_fewer_slots_are_filled_up_and_empty_ones_hold_zero(cache: Cache) -> None:
    spec = make_affinities(frame_count=1, grid=(1, 2))
    with cache.affinity_writer(spec) as writer:
        writer.write(
            0,
            np.array([[3, 2**31 - 1], [5, -1]], dtype=np.int64),
            np.array([[[0.5, 0.25], [1, 9]], [[-1, 0], [0.125, np.nan]]]),
            np.array([[1, np.inf], [0, -np.inf]]),
        )
        writer.finish({})
    sources, cosines, bounds = AffinityUnit(writer.folder).read(0)
    np.testing.assert_array_equal(sources, [[3, 2**31 - 1, -1, -1], [5, -1, -1, -1]])
    np.testing.assert_array_equal(cosines, [[[0.5, 0.25, 0, 0], [1, 0, 0, 0]], [[-1, 0, 0, 0], [0.125, 0, 0, 0]]])
    np.testing.assert_array_equal(bounds, [[1, np.inf], [0, -np.inf]])


@pytest.mark.parametrize(
    ("array", "value", "message"),
    [
        (0, 2**31, "too large for 32 bits"), (0, 2**32 + 10, "large"),
        (0, -2, "do not rise"), (0, 10, "do not rise"), (0, 11, "do not rise"),
        (1, np.nan, "not finite"), (1, 1e39, "not finite"), (2, np.nan, "NaN"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(cache: Cache, array: int, value: float, message: str) -> None:
    frame = [
        np.tile(np.array([9, 10, 11, -1]), (12, 1)),
        np.zeros((2, 12, 4)),
        np.zeros((2, 12)),
    ]
    with cache.affinity_writer(make_affinities()) as writer:
        writer.write(0, *frame)
        frame[array][..., 1] = value
        if value == 10:
            frame[0][0] = [9, -1, 10, -1]
        with pytest.raises(CacheError, match=message):
            writer.write(1, *frame)
        writer.commit()
        assert writer.done == {0}


def test_arrays_of_another_shape_and_frames_out_of_range_are_refused(cache: Cache) -> None:
    spec = make_affinities()
    sources, cosines, bounds = make_frames(spec)[1]
    with cache.affinity_writer(spec) as writer:
        for wrong in (
            (sources[1:], cosines[:, 1:], bounds[:, 1:]),
            (sources, cosines[:1], bounds),
            (sources, cosines[..., :2], bounds),
            (sources, cosines, bounds[:1]),
            (np.tile(sources, 2), np.tile(cosines, 2), bounds),
            (sources[0], cosines, bounds),
        ):
            with pytest.raises(CacheError, match="shapes"):
                writer.write(1, *wrong)
        with pytest.raises(CacheError, match="there is no frame 5"):
            writer.write_empty(5)
        with pytest.raises(IncompleteUnitError, match="lacks 5 frames"):
            writer.finish({})
    unit = write_affinities(cache, spec)
    with pytest.raises(CacheError, match="there is no frame -1"):
        unit.read(-1)


CHUNKS = ("sources/c/3/0/0", "cosines/c/3/0/0/0", "bounds/c/3/0/0")


@pytest.mark.parametrize("key", CHUNKS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap", "extend"])
def test_a_damaged_chunk_is_found_refused_and_redone(
    cache: Cache, affinities: AffinityUnit, key: str, damage: str
) -> None:
    before = tree(cache.root)
    damage_chunk(affinities.folder, key, damage)
    with pytest.raises(CorruptUnitError, match=r"ted cache verify --repair.*`ted sweep` again"):
        AffinityUnit(affinities.folder).read(3)
    AffinityUnit(affinities.folder).read(2)
    verdict = verify_unit(affinities.folder)
    assert verdict.state == "damaged"
    assert any(problem.startswith(key) for problem in verdict.problems)
    demote(affinities.folder)
    frames = make_frames(affinities.spec)
    with cache.affinity_writer(affinities.spec) as writer:
        assert writer.done == ({0, 2, 4} if damage == "swap" else {0, 1, 2, 4})
        for frame in {1, 3} - writer.done:
            writer.write(frame, *frames[frame])
        writer.finish({})
    assert tree(cache.root) == before


def test_what_is_no_chunk_of_the_unit_is_found_and_cleared(cache: Cache, affinities: AffinityUnit) -> None:
    before = tree(cache.root)
    (affinities.folder / "bounds/c/9").mkdir()
    (affinities.folder / "bounds/c/9/0").write_bytes(b"stray")
    assert verify_unit(affinities.folder).problems == ("bounds/c/9/0 is not among the unit's files",)
    demote(affinities.folder)
    with cache.affinity_writer(affinities.spec) as writer:
        assert writer.done == set(range(5))
        writer.finish({})
    assert tree(cache.root) == before


def test_what_a_killed_removal_left_is_not_listed(cache: Cache, affinities: AffinityUnit) -> None:
    affinities.folder.rename(affinities.folder.with_name(f".{affinities.folder.name}.0.removed"))
    assert not [*cache.affinities(), *cache.affinity_folders()]
    write_affinities(cache, make_affinities(frame_count=2))
    cache.remove(cache.affinities()[0].folder)
    assert list(cache.root.iterdir()) == []


@pytest.mark.parametrize("key", ["zarr.json", "sources/zarr.json", "cosines/zarr.json", "bounds/zarr.json", MARKER])
@pytest.mark.parametrize("damage", ["edit", "delete"])
def test_damaged_metadata_is_found_refused_and_redone(
    cache: Cache, affinities: AffinityUnit, key: str, damage: str
) -> None:
    path = affinities.folder / key
    if damage == "edit":
        path.write_text(path.read_text().replace("5", "6", 1))
    else:
        path.unlink()
    incomplete = (key, damage) == (MARKER, "delete")
    with pytest.raises(IncompleteUnitError if incomplete else CorruptUnitError):
        AffinityUnit(affinities.folder)
    assert verify_unit(affinities.folder).state == ("incomplete" if incomplete else "damaged")
    if key == MARKER:
        cache.remove(affinities.folder)
    else:
        demote(affinities.folder)
    frames = make_frames(affinities.spec)
    with cache.affinity_writer(affinities.spec) as writer:
        assert writer.done == (set() if key == MARKER else set(range(5)))  # metadata are restored from the marker
        for frame in set(range(5)) - writer.done:
            writer.write(frame, *frames[frame])
        writer.finish({})
    assert_equal(AffinityUnit(affinities.folder))


def test_a_marker_that_leaves_out_a_chunk_is_refused(affinities: AffinityUnit) -> None:
    files = dict(read_marker(affinities.folder).files)
    del files["bounds/c/3/0/0"]
    write_marker(affinities.folder, Marker(digest=affinities.spec.digest(), files=files))
    with pytest.raises(CorruptUnitError, match="does not promise exactly the frames"):
        AffinityUnit(affinities.folder)


def test_a_description_of_other_shapes_than_are_stored_is_refused(affinities: AffinityUnit) -> None:
    path = affinities.folder / "zarr.json"
    path.write_text(path.read_text().replace('"slots": 4', '"slots": 5'))
    files = {**read_marker(affinities.folder).files, "zarr.json": record_file(path)}
    write_marker(affinities.folder, Marker(digest=affinities.spec.digest(), files=files))
    with pytest.raises(CorruptUnitError, match="another shape"):
        AffinityUnit(affinities.folder)


@pytest.mark.parametrize("name", ["zarr.json", MARKER])
def test_a_newer_schema_is_refused_and_left_alone(cache: Cache, affinities: AffinityUnit, name: str) -> None:
    path = affinities.folder / name
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(SchemaError, match="upgrade"):
        AffinityUnit(affinities.folder)
    with pytest.raises(CacheError), cache.affinity_writer(affinities.spec):
        pass
    assert len(cache.affinities()) == (name == MARKER)
    assert (affinities.folder / CHUNKS[0]).is_file()


@pytest.mark.parametrize("change", [{"features": ("a" * 64, "c" * 64)}, {"video": "dog"}, {"slots": 3}])
def test_a_unit_in_the_folder_of_another_is_found_and_not_resumed(
    cache: Cache, affinities: AffinityUnit, change: dict[str, Any]
) -> None:
    other = dataclasses.replace(affinities.spec, **change)
    if change != {"slots": 3}:  # which has the same folder
        shutil.copytree(write_affinities(cache, other).folder, affinities.folder, dirs_exist_ok=True)
        verdict = verify_unit(affinities.folder)
        assert verdict.state == "damaged"
        assert verdict.problems == (f"it is {other.label}, in another unit's folder",)
    demote(affinities.folder)
    with cache.affinity_writer(other if change == {"slots": 3} else affinities.spec) as writer:
        assert writer.done == frozenset()


def test_features_in_a_place_for_affinities_are_begun_anew(cache: Cache) -> None:
    features = write_unit(cache, make_spec(), np.ones((5, 3, 4, 6), np.float16))
    spec = make_affinities()
    shutil.copytree(features.folder, spec.folder(cache.root))
    assert verify_unit(spec.folder(cache.root)).state == "incomplete"
    with pytest.raises(IncompleteUnitError):
        AffinityUnit(spec.folder(cache.root))
    assert cache.affinities() == []
    assert_equal(write_affinities(cache, spec))
    assert verify_unit(features.folder).state == "ok"


def test_a_folder_of_affinities_in_a_feature_unit_makes_it_no_other_kind(cache: Cache) -> None:
    features = write_unit(cache, make_spec(tap="affinities"), np.ones((5, 3, 4, 6), np.float16))
    (features.folder / "sources/ted").mkdir(parents=True)
    assert verify_unit(features.folder).state == "ok"
    assert cache.affinities() == []


def test_a_digest_that_only_begins_alike_is_noticed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AffinitySpec, "digest", lambda self: "01234567" + self.features[0][:1] * 56)
    with cache.affinity_writer(make_affinities()):
        pass
    other = make_affinities(features=("c", "d"))
    with pytest.raises(CacheError, match="same eight characters"), cache.affinity_writer(other):
        pass


def test_two_writers_exclude_each_other(cache: Cache) -> None:
    spec = make_affinities()
    with (
        cache.affinity_writer(spec),
        pytest.raises(ClaimedError, match=f"process {os.getpid()}"),
        cache.affinity_writer(spec),
    ):
        pass
    with cache.affinity_writer(spec), pytest.raises(ClaimedError):
        cache.remove(spec.folder(cache.root))
    write_affinities(cache, spec)
    with pytest.raises(CacheError, match="complete already"), cache.affinity_writer(spec):
        pass


def test_a_full_disk_is_told_and_nothing_looks_whole(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    import zarr.storage._local as local

    spec, put = make_affinities(), local._put
    frames = make_frames(spec)

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if "bounds" in path.parts:  # after the frame's other chunks were written
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(path, *arguments, **options)

    with cache.affinity_writer(spec) as writer:
        writer.write_empty(0)
        writer.commit()
        with monkeypatch.context() as patch:
            patch.setattr("zarr.storage._local._put", full)
            with pytest.raises(CacheError, match="disk is full: free some space"):
                writer.write(1, *frames[1])
    with pytest.raises(IncompleteUnitError):
        AffinityUnit(spec.folder(cache.root))
    with cache.affinity_writer(spec) as writer:
        assert writer.done == {0}


def test_an_open_reader_notices_replacement_and_removal(cache: Cache, affinities: AffinityUnit) -> None:
    frames = make_frames(affinities.spec)
    with cache.affinity_writer(affinities.spec, overwrite=True) as writer:
        for frame, (sources, cosines, bounds) in enumerate(frames):
            writer.write(frame, sources, cosines, bounds + np.float32(frame == 3))
        writer.finish({})
    affinities.read(2)  # equal content may be read
    with pytest.raises(CorruptUnitError, match="checksum differs"):
        affinities.read(3)
    cache.remove(affinities.folder)
    with pytest.raises(CorruptUnitError, match="is missing"):
        affinities.read(2)
    assert cache.affinity_state(affinities.spec) == "absent"
    assert list(cache.root.iterdir()) == []


def test_removing_features_keeps_affinities_of_them(cache: Cache, affinities: AffinityUnit) -> None:
    features = write_unit(cache, make_spec(), np.ones((5, 3, 4, 6), np.float16))
    cache.remove(features.folder)
    assert_equal(affinities)
    assert (cache.root / "davis/swan.zarr/zarr.json").is_file()


def test_hostile_names_stay_inside_the_cache(cache: Cache, tmp_path: Path) -> None:
    before = {path for path in tmp_path.iterdir() if path != cache.root}
    names = ("../../x", "../up/../../and away", "*", "[0]", "a\nb", "affinities", ".hidden", "\udcff", "x" * 500)
    specs = [make_affinities(dataset=name, video=name, feature_labels=(name, "")) for name in names]
    for spec in specs:
        write_affinities(cache, spec)
    assert {path for path in tmp_path.iterdir() if path != cache.root} == before
    assert {entry.spec.video for entry in cache.affinities()} == set(names)
    for spec in specs:
        (entry,) = cache.affinities(spec.dataset, spec.video)
        assert entry.spec == spec
        assert verify_unit(entry.folder).state == "ok"


def test_one_unreadable_unit_does_not_hide_the_others(cache: Cache, affinities: AffinityUnit) -> None:
    other = write_affinities(cache, make_affinities(frame_count=2))
    (other.folder / "zarr.json").write_text("{")
    assert [entry.folder for entry in cache.affinities()] == [affinities.folder]
    assert set(cache.affinity_folders()) == {affinities.folder, other.folder}
    assert cache.affinity_state(other.spec) == "damaged"
