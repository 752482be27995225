"""Damaged affinities are detected, refused and written again."""

import dataclasses
import shutil
from typing import Any

import numpy as np
import pytest

from ted.store import AffinitySpec, AffinityUnit, Cache, demote, verify_unit
from ted.store.errors import (
    CacheError,
    CorruptUnitError,
    Hint,
    IncompleteUnitError,
    SchemaError,
)
from ted.store.marker import Marker, read_marker, record_file, write_marker

from ..conftest import assert_affinities_equal, damage_chunk, raises_with_hint, write_affinities, write_unit
from ..test_writer import tree
from ..unit_inputs import make_affinities, make_frames, make_spec

MARKER = "sources/ted/complete.json"


CHUNKS = ("sources/c/3/0/0", "cosines/c/3/0/0/0", "bounds/c/3/0/0")


@pytest.mark.parametrize("key", CHUNKS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap", "extend"])
def test_a_damaged_chunk_is_found_refused_and_redone(
    cache: Cache, affinities: AffinityUnit, key: str, damage: str
) -> None:
    before = tree(cache.root)
    damage_chunk(affinities.folder, key, damage)
    with raises_with_hint(CorruptUnitError, Hint("repair", {"maker": "search"})):
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
    assert not [*cache.affinities(), *cache.folders("affinities")]
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
    assert_affinities_equal(AffinityUnit(affinities.folder))


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
    assert_affinities_equal(write_affinities(cache, spec))
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
    assert cache.state(affinities.spec) == "absent"
    assert list(cache.root.iterdir()) == []


def test_one_unreadable_unit_does_not_hide_the_others(cache: Cache, affinities: AffinityUnit) -> None:
    other = write_affinities(cache, make_affinities(frame_count=2))
    (other.folder / "zarr.json").write_text("{")
    assert [entry.folder for entry in cache.affinities()] == [affinities.folder]
    assert set(cache.folders("affinities")) == {affinities.folder, other.folder}
    assert cache.state(other.spec) == "damaged"
