"""Leftovers of killed processes are found and reclaimed; files of living processes stay."""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import Cache, Unit, copy_unit, find_leftovers, open_cache, reclaim, verify_unit
from ted.store.claims import STALE_AFTER_S, take_claim
from ted.store.errors import ClaimedError
from ted.store.leftovers import Leftover
from tests.pipeline.conftest import Cli

from .claim_inputs import GONE, NAME, age, leave_claim
from .conftest import write_unit
from .test_writer import tree
from .unit_inputs import make_spec


def found(cache: Cache) -> dict[str, str]:
    return {str(item.path.relative_to(cache.root)): item.kind for item in find_leftovers(cache.root)}


def aside(unit: Path, suffix: str) -> Path:
    return unit.with_name(f".{unit.name}.{uuid.uuid4().hex}.{suffix}")


def die_while(action: Callable[[], object]) -> None:
    """Run an action in a child process that is killed at the patched moment."""
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_whole_cache_has_none(cache: Cache, unit: Unit) -> None:
    with cache.writer(make_spec(seed=1)):
        assert found(cache) == {}
    assert found(cache) == {}  # an incomplete unit is not a leftover


def test_a_removal_that_was_killed(cache: Cache, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: os._exit(9))
        die_while(lambda: cache.remove(unit.folder))
    (leftover,) = find_leftovers(cache.root)
    assert leftover.kind == "removed"
    assert leftover.bytes > unit.marker.total_bytes
    reclaim(cache.root, leftover)
    assert list(cache.root.iterdir()) == []


def test_groups_of_a_removal_that_was_killed(cache: Cache, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ted.store.cache.remove_empty_groups", lambda *_: os._exit(9))
        die_while(lambda: cache.remove(unit.folder))
    (leftover,) = find_leftovers(cache.root)
    assert (leftover.path, leftover.kind) == (unit.folder.parent, "empty")
    reclaim(cache.root, leftover)
    assert list(cache.root.iterdir()) == []


@pytest.mark.parametrize("moment", ["a file", "a group", "the marker"])
def test_a_copy_that_was_killed(
    cache: Cache, unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    there = open_cache(tmp_path / "there", create=True)
    replace = Path.replace

    def die_at_group(path: Path, target: Path) -> Path:
        if target.name == "zarr.json" and target.parent.name.startswith("adm"):
            os._exit(9)
        return replace(path, target)

    with monkeypatch.context() as patch:
        if moment == "a group":
            patch.setattr(Path, "replace", die_at_group)
        else:
            name = {"a file": "_copy_file", "the marker": "write_marker"}[moment]
            patch.setattr(f"ted.store.copying.{name}", lambda *_: os._exit(9))
        die_while(lambda: copy_unit(unit.folder, there.root))
    partial = [path for path in there.root.rglob("*.partial") if ".copying" not in str(path)]
    assert partial == []  # groups, which processes share, contain no temporary files
    assert sorted(found(there).values()) == ["claimed", "copying"]
    for leftover in list(find_leftovers(there.root)):
        reclaim(there.root, leftover)
    assert found(there) == {}
    assert list(there.root.iterdir()) == []


def test_what_living_processes_use_stays(cache: Cache, unit: Unit) -> None:
    folder = unit.folder
    with take_claim(folder):
        copying = aside(folder, "copying")
        shutil.copytree(folder, copying)
        assert found(cache) == {}
    assert found(cache) == {str(copying.relative_to(cache.root)): "copying"}
    removed = aside(folder, "removed")
    shutil.copytree(folder, removed)
    claim = leave_claim(removed, seconds=STALE_AFTER_S - 60)
    assert str(removed.relative_to(cache.root)) not in found(cache)
    age(claim, STALE_AFTER_S + 60)
    assert len(found(cache)) == 2


def test_temporary_files_are_leftovers_once_they_are_old(cache: Cache, unit: Unit) -> None:
    names = [unit.folder.parent / ".zarr.json.0.partial", unit.folder / "features/ted/.complete.json.1.partial"]
    for path in names:
        path.write_bytes(b"12345")
    assert found(cache) == {}
    for path in names:
        age(path, STALE_AFTER_S + 60)
    assert set(found(cache).values()) == {"partial"}
    with take_claim(unit.folder):  # the second leftover may belong to the claim's holder
        assert len(found(cache)) == 1
    for leftover in list(find_leftovers(cache.root)):
        assert leftover.bytes == 5
        reclaim(cache.root, leftover)
    assert not list(cache.root.rglob("*.partial"))
    assert verify_unit(unit.folder).state == "ok"


def test_a_claim_and_nothing_else(cache: Cache) -> None:
    folder = make_spec().folder(cache.root)
    path = leave_claim(folder, host=os.uname().nodename, **GONE)
    (leftover,) = find_leftovers(cache.root)
    assert (leftover.path, leftover.kind) == (folder, "claimed")
    with take_claim(folder), pytest.raises(ClaimedError):
        reclaim(cache.root, leftover)
    path.write_text(json.dumps({"token": "x"}))
    age(path, 10_000)
    reclaim(cache.root, leftover)
    assert list(cache.root.iterdir()) == []
    assert NAME.endswith("claim.json")


def test_links_and_other_folders_are_left_alone(cache: Cache, unit: Unit, tmp_path: Path) -> None:
    others = [cache.root / "notes/empty", cache.root / "davis/pictures/empty", tmp_path / "linked/empty"]
    for folder in others:
        folder.mkdir(parents=True)
    (cache.root / "davis/swan.zarr/linked").symlink_to(tmp_path / "linked")
    removed = aside(unit.folder, "removed")
    removed.symlink_to(tmp_path / "linked")
    assert found(cache) == {}


def test_an_empty_group_in_which_a_writer_begins_stays(cache: Cache, values: NDArray[np.float16]) -> None:
    unit = write_unit(cache, make_spec(), values)
    group = unit.folder.parent
    leftover = Leftover(path=group, kind="empty", bytes=0)
    reclaim(cache.root, leftover)
    assert verify_unit(unit.folder).state == "ok"
    assert (group / "zarr.json").is_file()


def test_through_the_command(cli: Cli, cache: Cache, unit: Unit) -> None:
    before = tree(cache.root)
    removed = aside(unit.folder, "removed")
    shutil.copytree(unit.folder, removed)
    planned = cli("cache", "gc", "--cache", cache.root, "--dry-run")
    assert "1 leftover to delete" in planned.out
    assert removed.is_dir()
    result = json.loads(cli("cache", "gc", "--cache", cache.root, "--json").out)
    assert result["leftovers"][0]["path"] == str(removed)
    assert result["bytes"] == result["leftovers"][0]["bytes"] > unit.marker.total_bytes
    assert tree(cache.root) == before
    assert "0 leftovers deleted" in cli("cache", "gc", "--cache", cache.root).out
