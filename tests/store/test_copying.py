"""Copy units between caches: same bytes, atomically, with any state of the destination."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import (
    AffinityUnit,
    Cache,
    FeatureRequest,
    Unit,
    UnitSpec,
    copy_unit,
    copying,
    open_cache,
    plan_transfer,
    verify_unit,
)
from ted.store.claims import STALE_AFTER_S, take_claim
from ted.store.errors import CacheError, Hint, IncompleteUnitError

from .claim_inputs import leave_claim
from .conftest import damage_chunk, write_affinities, write_unit
from .unit_inputs import make_affinities, make_spec

CHUNK = "features/c/3/0/0/0"


def files(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, run records included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def other(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "other")


def test_a_copied_cache_is_the_same_byte_for_byte(cache: Cache, unit: Unit, other: Cache) -> None:
    affinities = write_affinities(cache, make_affinities())
    before = files(cache.root)
    (unit.folder / "features/ted/journal.jsonl").write_text("{}\n")
    (unit.folder / "features/ted/.x.partial").write_text("torn")
    with take_claim(affinities.folder):
        for source in (unit, affinities):
            copied: list[int] = []
            result = copy_unit(source.folder, other.root, progress=copied.append)
            assert (result.state, result.bytes, result.label) == ("copied", sum(copied), source.spec.label)
            assert result.target == source.spec.folder(other.root)
            assert result.bytes == source.marker.total_bytes
    assert files(other.root) == before
    assert [entry.state for entry in [*other.entries(), *other.affinities()]] == ["complete"] * 2


def test_equal_content_is_skipped_and_other_content_stays(
    cache: Cache, unit: Unit, other: Cache, values: NDArray[np.float16]
) -> None:
    copy_unit(unit.folder, other.root)
    before = times(other.root)
    assert plan_transfer(unit.folder, other.root).state == "present"
    assert copy_unit(unit.folder, other.root).state == "present"
    cache.remove(unit.folder)
    changed = write_unit(cache, unit.spec, values + np.float16(1))
    assert copy_unit(changed.folder, other.root).state == "kept"
    assert times(other.root) == before


def test_incomplete_units_stay_behind(cache: Cache, other: Cache, values: NDArray[np.float16]) -> None:
    with cache.writer(make_spec()) as writer:
        writer.write(0, values[0])
        writer.commit()
    result = copy_unit(writer.folder, other.root)
    assert (result.state, result.problem) == ("incomplete", None)
    assert not other.root.exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap", "extend"])
def test_a_unit_damaged_at_the_source_is_not_copied(cache: Cache, unit: Unit, other: Cache, damage: str) -> None:
    neighbour = write_unit(cache, make_spec(timestep=300), unit.features.compute())
    copy_unit(neighbour.folder, other.root)
    before = files(other.root)
    damage_chunk(unit.folder, CHUNK, damage)
    result = copy_unit(unit.folder, other.root)
    assert result.state == "damaged"
    assert result.problem
    assert result.problem.hint == Hint("verify")
    assert files(other.root) == before
    assert not unit.spec.folder(other.root).exists()
    # A refused copy leaves no new folders.
    alone = other.root.with_name("alone")
    assert copy_unit(unit.folder, alone).state == "damaged"
    assert not list(alone.glob("*"))


@pytest.mark.parametrize("key", ["zarr.json", "features/zarr.json", "features/ted/complete.json"])
@pytest.mark.parametrize("damage", ["edit", "folder", "empty"])
def test_damaged_metadata_at_the_source_is_told(unit: Unit, other: Cache, key: str, damage: str) -> None:
    path = unit.folder / key
    if damage == "edit":
        path.write_text(path.read_text().replace("5", "6", 1))
    else:
        path.unlink()
        (path.mkdir if damage == "folder" else path.touch)()
    result = copy_unit(unit.folder, other.root)
    assert result.state == "damaged"
    assert result.problem
    assert not other.root.exists()


def _incomplete(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    cache.remove(spec.folder(cache.root))
    with cache.writer(spec) as writer:
        writer.write(0, values[0] + np.float16(1))
        writer.commit()


def _truncated(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    damage_chunk(spec.folder(cache.root), CHUNK, "truncate")


def _edited(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    path = spec.folder(cache.root) / "zarr.json"
    path.write_text(path.read_text().replace("00003", "00004"))


def _without_marker(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    path = spec.folder(cache.root) / "features/ted/complete.json"
    path.write_text(path.read_text()[:-30])


def _misplaced(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    elsewhere = write_unit(cache, make_spec(video="dog"), values).folder
    shutil.rmtree(spec.folder(cache.root))
    elsewhere.rename(spec.folder(cache.root))


def _silent(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    _incomplete(cache, spec, values)
    leave_claim(spec.folder(cache.root), seconds=STALE_AFTER_S + 10)


@pytest.mark.parametrize("state", [_incomplete, _truncated, _edited, _without_marker, _misplaced, _silent])
def test_what_is_not_whole_at_the_destination_is_replaced(
    cache: Cache, unit: Unit, other: Cache, values: NDArray[np.float16], state: Callable[..., None]
) -> None:
    copy_unit(unit.folder, other.root)
    state(other, unit.spec, values)
    leftover = unit.spec.folder(other.root).with_name(f".float16.{'0' * 32}.copying")  # of a copy that was killed
    (leftover / "features").mkdir(parents=True)
    (leftover / "zarr.json").write_text("{}")
    others = leftover.with_name(f".float16.x.{'0' * 32}.copying")  # of another unit, which may be under way
    others.mkdir()
    assert copy_unit(unit.folder, other.root).state == "copied"
    assert files(unit.spec.folder(other.root)) == files(unit.folder)
    assert {path.name for path in leftover.parent.iterdir()} == {"zarr.json", "float16", others.name}


def test_what_a_process_is_writing_at_the_destination_is_left_to_it(
    unit: Unit, other: Cache, values: NDArray[np.float16]
) -> None:
    with other.writer(unit.spec) as writer:
        writer.write(0, values[0])
        writer.commit()
        before = files(other.root)
        result = copy_unit(unit.folder, other.root)
        assert result.state == "failed"
        assert f"process {os.getpid()}" in str(result.problem)
        assert files(other.root) == before
        writer.write(1, values[1])


def test_a_unit_finished_by_another_process_meanwhile_stays(
    unit: Unit, other: Cache, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish_first(folder: Path) -> Any:
        monkeypatch.undo()
        write_unit(other, unit.spec, values + np.float16(1))
        return take_claim(folder)

    monkeypatch.setattr(copying, "take_claim", finish_first)
    assert copy_unit(unit.folder, other.root).state == "kept"
    np.testing.assert_array_equal(Unit(unit.spec.folder(other.root)).features.compute(), values + np.float16(1))


def test_another_request_of_the_same_eight_characters_is_not_replaced(
    cache: Cache, other: Cache, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureRequest, "digest", lambda self: "01234567" + str(self.seed) * 56)
    write_unit(other, make_spec(seed=1), values)
    before = files(other.root)
    result = copy_unit(write_unit(cache, make_spec(seed=2), values).folder, other.root)
    assert result.state == "failed"
    assert "same eight characters" in str(result.problem)
    assert files(other.root) == before


@pytest.mark.parametrize("where", ["source", "destination"])
@pytest.mark.parametrize("key", ["zarr.json", "features/ted/complete.json"])
def test_a_newer_format_is_refused(unit: Unit, other: Cache, where: str, key: str) -> None:
    copy_unit(unit.folder, other.root)
    target = unit.spec.folder(other.root)
    if where == "destination" and key == "zarr.json":  # not yet finished there
        (target / "features/ted/complete.json").unlink()
    path = (target if where == "destination" else unit.folder) / key
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    before = files(target)
    result = copy_unit(unit.folder, other.root)
    assert result.state == "failed"
    assert "upgrade ted-tracking" in str(result.problem)
    assert files(target) == before


def test_the_place_follows_from_the_description(
    cache: Cache, other: Cache, values: NDArray[np.float16], tmp_path: Path
) -> None:
    spec = make_spec(dataset="../../x", video="../up/../../and away")
    unit = write_unit(cache, spec, values)
    video = cache.root / "davis" / "%2e%2e.zarr"
    video.parent.mkdir()
    unit.folder.parents[3].rename(video)
    before = set(tmp_path.iterdir()) | {other.root}
    (folder,) = cache.folders("features")
    assert copy_unit(folder, other.root).state == "copied"
    assert set(tmp_path.iterdir()) == before
    assert files(spec.folder(other.root)) == files(folder)
    assert [entry.spec for entry in other.entries()] == [spec]


def test_a_full_disk_is_told_leaves_nothing_and_the_rest_is_copied_later(
    unit: Unit, other: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_file = copying._copy_file

    def full(source: Path, target: Path, *arguments: Any) -> None:
        if CHUNK in str(source):
            raise OSError(errno.ENOSPC, "No space left on device")
        copy_file(source, target, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_copy_file", full)
        with pytest.raises(CacheError, match=r"disk is full: free some space and run the same command again"):
            copy_unit(unit.folder, other.root)
    assert not list(other.root.glob("*"))
    assert copy_unit(unit.folder, other.root).state == "copied"


def _copy_until(source: Path, root: Path, events: int) -> bool:
    """Copy in a process that is killed at its n-th change of the destination; return whether it was killed."""
    child = os.fork()
    if not child:
        seen = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            )
            if changes and str(arguments[0]).startswith(str(root)):
                seen += 1
                if seen > events:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            os._exit(copy_unit(source, root).state != "copied")
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("begun", [False, True])
def test_killed_before_any_change_there_is_a_whole_unit_or_none(
    cache: Cache, tmp_path: Path, values: NDArray[np.float16], begun: bool
) -> None:
    spec = make_spec(frame_names=("0", "1"))
    source = write_unit(cache, spec, values[:2])
    killed, events, states = True, 0, []
    while killed:
        other = open_cache(tmp_path / str(events), create=True)
        target = spec.folder(other.root)
        if begun:
            with other.writer(spec) as writer:
                writer.write(0, values[0])
                writer.commit()
        killed = _copy_until(source.folder, other.root, events)
        states.append(other.state(spec))
        if states[-1] == "complete":
            assert verify_unit(target).state == "ok"
            assert Unit(target).run_record == {"host": "here"}
        else:
            with pytest.raises(IncompleteUnitError):
                Unit(target)
        assert {entry.folder for entry in other.entries()} <= {target}
        if events % 4 == 0 or states[-1] == "complete":
            assert copy_unit(source.folder, other.root).state in ("copied", "present")
            names = {path.name for path in target.parent.iterdir() if not path.name.endswith(".removed")}
            assert names == {"zarr.json", "float16"}
            assert files(target) == files(source.folder)
        shutil.rmtree(other.root, ignore_errors=True)
        events += 1
    assert events > 20
    assert {"absent", "complete"} <= set(states)


def test_a_cache_copied_by_other_means_reads_and_resumes_there(
    cache: Cache, unit: Unit, values: NDArray[np.float16], tmp_path: Path
) -> None:
    """A cache copied by ``cp -r`` or rsync while a job on another machine was writing it."""
    affinities = write_affinities(cache, make_affinities())
    begun = make_spec(timestep=300)
    with cache.writer(begun) as writer:
        for frame in (0, 1):
            writer.write(frame, values[frame])
            writer.commit()
        (writer.folder / "features/c/2.partial").write_bytes(b"torn")
        leave_claim(writer.folder, seconds=STALE_AFTER_S + 10)
        leave_claim(unit.folder, seconds=STALE_AFTER_S + 10)
        there = Cache(Path(shutil.copytree(cache.root, tmp_path / "elsewhere" / "there")))
    shutil.rmtree(cache.root)
    np.testing.assert_array_equal(there.units()[0].features.compute(), values)
    assert there.affinities()[0].open().content_hash == affinities.content_hash
    AffinityUnit(affinities.spec.folder(there.root)).read(2)
    with there.writer(begun) as writer:
        assert writer.done == {0, 1}
        for frame in (2, 3, 4):
            writer.write(frame, values[frame])
        writer.finish({})
    np.testing.assert_array_equal(Unit(begun.folder(there.root)).features.compute(), values)
    assert {verify_unit(folder).state for folder in [*there.folders("features"), *there.folders("affinities")]} == {
        "ok"
    }
