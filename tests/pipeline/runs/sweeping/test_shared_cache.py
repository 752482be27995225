"""Several processes over one cache: no sweep loses a video, and nothing is removed under a reader."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ted.pipeline.runs.sweeping import running
from ted.propagate import affinity_spec, cache_affinities
from ted.store import Cache, ReadLock, open_cache, video_folder

from ...conftest import Cli

LISTS = ("--alpha", "0.4", "--temperature", "0.02,0.2", "--top-k", "2,5", "--radius", "1,3", "--context", "28")
VIDEOS = ("one", "two")


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("results.csv", "settings.csv")}


@pytest.fixture
def expected(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> dict[str, bytes]:
    """The tables of a sweep that is alone; its affinities are removed."""
    common = ("--cache", cache, *LISTS, "--no-plots", "--discard-affinities")
    assert cli("sweep", davis_source, *common, "--out", tmp_path / "alone").code == 0
    assert not open_cache(cache).affinities()
    return tables(tmp_path / "alone")


class Other:
    """Another process that computes affinities of both videos when the sweep begins, until the sweep waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, finish: bool) -> None:
        self.waits = 0
        self._finish = finish
        self._writers: dict[Path, object] = {}
        self._later: list[Callable[[], object]] = []
        self._patch = monkeypatch
        monkeypatch.setattr(running, "time", SimpleNamespace(perf_counter=time.perf_counter, sleep=self.go_on))
        monkeypatch.setattr(running, "cache_affinities", self.cache)

    def cache(self, cache: Cache, units, wanted, **options):  # type: ignore[no-untyped-def]
        if len(self._writers) < len(VIDEOS) and wanted.radius == 1:
            spec = affinity_spec(units, wanted)
            if spec.folder(cache.root) not in self._writers:
                writer = cache.affinity_writer(spec)
                self._writers[spec.folder(cache.root)] = writer.__enter__()
                self._later.append(lambda: cache_affinities(cache, units, wanted))
        return cache_affinities(cache, units, wanted, **options)

    def go_on(self, _seconds: float) -> None:
        self.waits += 1
        for writer in self._writers.values():
            writer.__exit__(None, None, None)  # type: ignore[attr-defined]
        for compute in self._later if self._finish else ():
            compute()


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_affinities_that_another_process_computes_are_waited_for(
    cli: Cli,
    davis_source: Path,
    cache: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finish: bool,
    keep: bool,
) -> None:
    other = Other(monkeypatch, finish)
    mode = "--keep-affinities" if keep else "--discard-affinities"
    done = cli("sweep", davis_source, "--cache", cache, *LISTS, "--no-plots", mode, "--out", tmp_path / "sweep")
    assert done.code == 0
    assert other.waits == 1
    assert "waiting for affinities that other processes are computing" in done.err
    assert tables(tmp_path / "sweep") == expected
    left = len(open_cache(cache).affinities())
    assert left == (4 if keep else 2 if finish else 0), "what the other process has written is its own"


def test_affinities_alone_are_waited_for_too(
    cli: Cli, davis_source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Other(monkeypatch, True)
    done = cli("sweep", davis_source, "--cache", cache, *LISTS, "--affinities-only", "--json")
    assert done.code == 0
    assert other.waits == 1
    assert json.loads(done.out)["affinity_units"] == 4
    assert done.err.count("there before") == 2
    assert done.err.count(": written") == 2


def test_affinities_that_another_process_reads_are_not_discarded(
    cli: Cli, davis_source: Path, cache: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = ("sweep", davis_source, "--cache", cache, *LISTS, "--no-plots", "--discard-affinities", "--out")
    dataset = open_cache(cache).videos()[0][0]
    with ReadLock(video_folder(cache, dataset, "two")):
        done = cli(*command, tmp_path / "sweep")
    assert done.code == 0
    assert tables(tmp_path / "sweep") == expected
    assert {entry.spec.video for entry in open_cache(cache).affinities()} == {"two"}
    assert done.err.count("another process is reading affinities there") == 2
    assert cli(*command, tmp_path / "sweep", "--temperature", "0.3").code == 0
    assert not open_cache(cache).affinities(), "the next sweep into the same folder removes them"


def test_affinities_that_vanish_after_planning_are_computed_again(
    cli: Cli,
    davis_source: Path,
    cache: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("sweep", davis_source, "--cache", cache, *LISTS, "--no-plots", "--out")
    assert cli(*command, tmp_path / "first").code == 0

    def remove_and_lock(folder: Path) -> ReadLock:
        for entry in open_cache(cache).affinities(video="two"):
            open_cache(cache).remove(entry.folder)
        return ReadLock(folder)

    monkeypatch.setattr(running, "ReadLock", remove_and_lock)
    assert cli(*command, tmp_path / "second").code == 0
    assert tables(tmp_path / "second") == expected


def test_propagation_that_would_cache_affinities_computes_without(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    command = ("propagate", davis_source, "--videos", "one", "--cache", cache, "--radius", 2, "--top-k", 5)
    assert cli(*command, "--affinities", "keep", "--out", tmp_path / "a").code == 0
    (entry,) = open_cache(cache).affinities()
    open_cache(cache).remove(entry.folder)
    with open_cache(cache).affinity_writer(entry.spec):
        done = cli(*command, "--affinities", "keep", "--out", tmp_path / "b")
    assert done.code == 0
    assert "affinities from features" in done.err
    for path in (tmp_path / "a" / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "b" / "one" / path.name).read_bytes()


def test_a_sweep_that_misses_videos_says_so_first(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    (unit,) = open_cache(cache).units(video="two", backbone="adm")
    chunk = next(path for path in sorted(unit.folder.rglob("*")) if path.is_file() and path.stat().st_size > 1000)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 255
    chunk.write_bytes(content)
    command = ("sweep", davis_source, "--cache", cache, *LISTS, "--no-plots", "--out", tmp_path / "sweep")
    done = cli(*command)
    assert done.code == 1
    first, second = done.out.splitlines()[:2]
    assert first == "INCOMPLETE: 1 of 2 videos are not in these means:"
    assert second.startswith("  two: ")
    described = cli(*command, "--json")
    assert described.code == 1
    assert list(json.loads(described.out)["missing_videos"]) == ["two"]
    best = json.loads((tmp_path / "sweep" / "best.json").read_text())
    assert next(iter(best)) == "missing_videos"
    assert list(best["missing_videos"]) == ["two"]
