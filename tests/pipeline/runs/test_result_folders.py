"""Folders of results: whole, durable, checked against their record, replaced in one step."""

import fcntl
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.runs import result_folders
from ted.pipeline.runs.result_folders import RECORD, atomic_folder, changed_files, check_result, has_same_result
from ted.store.errors import ConfigError, LabelError

OLD, NEW = {"settings": 1}, {"settings": 2}


def write(folder: Path, record: dict[str, int] = OLD) -> None:
    """Write a result of two masks, a table and a nested file."""
    with atomic_folder(folder, record) as hidden:
        for name, value in (("00000.png", 1), ("00001.png", 2)):
            Image.fromarray(np.full((4, 6), value, np.uint8)).save(hidden / name)
        np.savez(hidden / "points.npz", points=np.arange(100))
        (hidden / "soft.zarr" / "c").mkdir(parents=True)
        (hidden / "soft.zarr" / "c" / "0").write_bytes(b"chunk")


def forget_files(folder: Path) -> None:
    """Make a result's record one of an earlier version."""
    record = json.loads((folder / RECORD).read_text())
    del record["files"]
    (folder / RECORD).write_text(json.dumps(record))


def test_a_result_is_recognised_by_its_record(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    assert not has_same_result(folder, OLD, overwrite=False)
    write(folder)
    assert has_same_result(folder, OLD, overwrite=False, expected=["00000.png"])
    assert not has_same_result(folder, OLD, overwrite=True)
    with pytest.raises(ConfigError, match="other settings"):
        has_same_result(folder, NEW, overwrite=False)
    check_result(folder)
    files = json.loads((folder / RECORD).read_text())["files"]
    assert sorted(files) == ["00000.png", "00001.png", "points.npz", "soft.zarr/c/0"]
    assert files["soft.zarr/c/0"]["bytes"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def delete(folder: Path) -> None:
    (folder / "00001.png").unlink()


def empty(folder: Path) -> None:
    (folder / "00001.png").write_bytes(b"")


def swap(folder: Path) -> None:
    (folder / "00001.png").rename(folder / "x")
    (folder / "00000.png").rename(folder / "00001.png")
    (folder / "x").rename(folder / "00000.png")


def flip(folder: Path) -> None:
    content = bytearray((folder / "00001.png").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "00001.png").write_bytes(content)


def damage_inside(folder: Path) -> None:
    (folder / "soft.zarr" / "c" / "0").write_bytes(b"CHUNK")


def list_as_folder(folder: Path) -> None:
    (folder / "00001.png").unlink()
    (folder / "00001.png").mkdir()


@pytest.mark.parametrize("damage", [delete, empty, swap, flip, damage_inside, list_as_folder])
def test_changed_files_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object) -> None:
    folder = tmp_path / "one"
    write(folder)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(LabelError, match=r"differ from the result's record .*propagate the video again"):
        check_result(folder)
    assert not has_same_result(folder, OLD, overwrite=False)
    assert "made again" in caplog.text
    write(folder)
    assert has_same_result(folder, OLD, overwrite=False)


def test_a_result_of_an_earlier_version_is_checked_for_what_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write(folder)
    forget_files(folder)
    expected = ["00000.png", "00001.png"]
    assert has_same_result(folder, OLD, overwrite=False, expected=expected)
    (folder / "points.npz").write_bytes((folder / "points.npz").read_bytes()[:200])
    assert changed_files(folder) == ["points.npz"]
    empty(folder)
    assert changed_files(folder) == ["00001.png", "points.npz"]
    delete(folder)
    assert changed_files(folder, expected=expected) == ["00001.png", "points.npz"]
    assert not has_same_result(folder, OLD, overwrite=False, expected=expected)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[" * 200_000, b"\xff\x00"])
def test_a_record_that_cannot_be_read_is_an_interrupted_result(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "one")
    (tmp_path / "one" / RECORD).write_bytes(content)
    assert not has_same_result(tmp_path / "one", OLD, overwrite=False)
    write(tmp_path / "one")
    assert has_same_result(tmp_path / "one", OLD, overwrite=False)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "notes.txt").write_text("mine")
    (tmp_path / "two").write_text("mine")
    for name in ("one", "two"):
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match="in the way"):
                has_same_result(tmp_path / name, OLD, overwrite=overwrite)
    assert changed_files(tmp_path / "one") == [], "results of other programs have no record"


def test_a_failing_block_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "one")
    with pytest.raises(KeyError), atomic_folder(tmp_path / "one", NEW):
        raise KeyError
    assert has_same_result(tmp_path / "one", OLD, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("replace", [False, True])
def test_everything_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    folder = tmp_path / "one"
    if replace:
        write(folder)
    events: list[str] = []
    put = result_folders._put

    def note_sync(descriptor: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))

    def note_put(hidden: Path, target: Path) -> None:
        events.append(f"put {hidden.name}")
        put(hidden, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(result_folders, "_put", note_put)
    write(folder, NEW)
    at = next(index for index, event in enumerate(events) if event.startswith("put "))
    hidden = events[at].removeprefix("put ")
    names = ("00000.png", "00001.png", "points.npz", "soft.zarr/c/0", RECORD, "soft.zarr", "soft.zarr/c")
    assert {f"{hidden}/{name}" for name in names} | {hidden} == set(events[:at])
    assert events[:at].index(hidden) == at - 1, "the folder after its files"
    assert events[at + 1 :] == ["."]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_several_may_replace_one_result_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    folder = tmp_path / "one"
    write(folder)
    if not can_exchange:
        monkeypatch.setattr(result_folders, "_exchange", lambda one, other: False)
    errors: list[BaseException] = []
    absent = 0

    def replace() -> None:
        try:
            for _ in range(10):
                write(folder, NEW)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=replace) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        absent += not folder.exists()
    assert not errors
    assert not can_exchange or not absent, "a result is visible at every moment"
    assert has_same_result(folder, NEW, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_crash_between_two_renames_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    write(folder)
    with monkeypatch.context() as patch:
        patch.setattr(result_folders, "_exchange", lambda one, other: False)
        rename = Path.rename

        def crash(path: Path, target: Path) -> Path:
            if path.name.endswith(".partial") and not folder.exists():
                raise SystemExit
            return rename(path, target)

        patch.setattr(Path, "rename", crash)
        with pytest.raises(SystemExit):
            write(folder, NEW)
    assert not folder.exists()
    assert has_same_result(folder, OLD, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_leftovers_of_dead_processes_are_removed_and_others_stay(tmp_path: Path) -> None:
    dead, alive, other = (
        tmp_path / f".{name}.{digit * 12}.partial" for name, digit in (("one", "a"), ("one", "b"), ("two", "c"))
    )
    for path in (dead, alive, other, tmp_path / ".one.notes"):
        path.mkdir()
        (path / "x").write_text("x")
    lock = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        write(tmp_path / "one")
    finally:
        os.close(lock)
    assert {path.name for path in tmp_path.iterdir()} == {"one", alive.name, other.name, ".one.notes"}


def test_a_copied_result_is_still_recognised(tmp_path: Path) -> None:
    write(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert has_same_result(tmp_path / "two", OLD, overwrite=False)
