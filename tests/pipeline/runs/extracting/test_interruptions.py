"""Signals and full disks: nothing half done looks whole, and the same command goes on from there."""

import json
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from .conftest import count_whole, tree
from .processes import hurry, start
from .steps import At, fill_disk, signal_self

# Signals.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_claim_and_loses_nothing_that_was_computed(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], number: int, code: int
) -> None:
    cache = tmp_path / "cache"
    at = At(cache=cache, log=tmp_path / "steps", phase="chunks", number=60, act=partial(signal_self, number))
    run = start(tmp_path, *command, "--cache", cache, hooks=(at,))
    assert run.wait() == code
    assert ("run the same command again" in run.err.read_text()) == (number == signal.SIGINT)
    assert not list(cache.rglob("*claim*"))
    units = [path.parents[2] for path in cache.rglob("journal.jsonl")]
    assert units
    for unit in units:
        chunks = [path for path in (unit / "features/c").rglob("0") if path.is_file()]
        assert (unit / "features/ted/journal.jsonl").read_bytes().count(b"/c/") == len(chunks)
    assert start(tmp_path, *command, "--cache", cache).wait() == 0
    assert tree(cache) == expected
    (record,) = {(unit / "features/ted/run.json").read_text() for unit in units if "one.zarr" in str(unit)}
    assert 0 < json.loads(record)["frames_computed"] < 11


# Full disks.


@pytest.fixture
def disk(small_disk: Path) -> Path:
    """A real file system of 4 MB."""
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    return small_disk


@pytest.fixture
def one_video(command: tuple[str, ...], expected: Mapping[str, bytes]) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """What extracts four units of one video with one backbone; and their files."""
    arguments = tuple(text for text in command if "i2vgen" not in text)
    files = {path: data for path, data in expected.items() if "two.zarr" not in path and "i2vgen" not in path}
    return (*arguments, "--videos=one"), files


def test_a_disk_that_is_full_at_any_step(
    tmp_path: Path, one_video: tuple[tuple[str, ...], dict[str, bytes]], disk: Path
) -> None:
    command, expected = one_video
    cache, ballast = disk / "cache", disk / "ballast"
    for phase, number in {"claim": 1, "groups": 2, "array": 2, "chunks": 9, "journal": 2, "run record": 1}.items():
        fail_when_full(
            tmp_path,
            command,
            cache,
            At(cache=cache, log=tmp_path / "steps", phase=phase, number=number, act=partial(fill_disk, ballast)),
        )
        assert not list(cache.rglob("complete.json"))
        ballast.unlink()
    at = At(cache=cache, log=tmp_path / "steps", phase="marker", number=3, act=partial(fill_disk, ballast))
    fail_when_full(tmp_path, command, cache, at)
    assert count_whole(cache) == 1
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    assert start(tmp_path, *command, "--cache", cache).wait() == 0
    assert tree(cache) == expected


def fail_when_full(folder: Path, command: tuple[str, ...], cache: Path, at: At) -> None:
    run = start(folder, *command, "--cache", cache, hooks=(hurry, at))
    assert run.wait() == 1, at.phase
    (failed,) = run.summary["failed"]
    assert "the disk is full: free some space and run the same command again" in failed["reason"], at.phase
    assert run.summary["written"] == []
    assert not list(cache.rglob("claim.json"))


def test_videos_that_fit_are_completed_beside_one_that_does_not(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], disk: Path
) -> None:
    """The disk is full while the last video is written: what was complete stays, what is missing is made later."""
    cache, ballast = disk / "cache", disk / "ballast"
    at = At(cache=cache, log=tmp_path / "steps", phase="chunks", number=900, act=partial(fill_disk, ballast))
    run = start(tmp_path, *command, "--cache", cache, hooks=(hurry, at))
    assert run.wait() == 1
    assert 0 < count_whole(cache) < 16
    assert len(run.summary["failed"]) == 4 - len(run.summary["written"]) // 4
    ballast.unlink()
    assert start(tmp_path, *command, "--cache", cache).wait() == 0
    assert tree(cache) == expected
