"""``ted propagate`` with affinities kept in the cache, and with worker processes: the same masks."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zarr

from ted.pipeline.runs.devices import choose_device
from ted.store import AffinityWriter, open_cache
from ted.store.errors import CacheError, ConfigError

from ..conftest import Cli
from ..inputs import SMALL, propagate


def masks(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}
    assert found
    return found


def rows(out: str) -> dict[str, dict[str, Any]]:
    return {row["video"]: row for row in json.loads(out)["videos"]}


def test_kept_affinities_give_the_same_masks(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    plain = propagate(cli, cache, tmp_path / "plain", davis_source, "--affinities", "off", "--json")
    assert {row["affinities"] for row in rows(plain.out).values()} == {"features"}
    assert not open_cache(cache).affinities()
    keeping = propagate(cli, cache, tmp_path / "keeping", davis_source, "--affinities", "keep", "--json")
    assert {row["affinities"] for row in rows(keeping.out).values()} == {"features, kept"}
    assert [entry.state for entry in open_cache(cache).affinities()] == ["complete", "complete"]
    reading = propagate(cli, cache, tmp_path / "reading", davis_source, "--json")
    assert {row["affinities"] for row in rows(reading.out).values()} == {"kept"}
    assert masks(tmp_path / "plain") == masks(tmp_path / "keeping") == masks(tmp_path / "reading")
    # A result is known by its settings, wherever its affinities came from.
    again = propagate(cli, cache, tmp_path / "reading", davis_source, "--affinities", "off", "--json")
    assert all(row["skipped"] for row in rows(again.out).values())


def test_one_video_is_retuned_from_affinities_without_being_asked(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TED_PROPAGATE_AFFINITIES")
    one = ("propagate", davis_source, "--videos", "one", "--cache", cache, *SMALL)
    assert cli(*one, "--out", tmp_path / "read", "--affinities", "read").code == 0
    assert not open_cache(cache).affinities()
    first = cli(*one, "--out", tmp_path / "first")
    assert "affinities from features, cached for re-tuning" in first.err
    assert [entry.state for entry in open_cache(cache).affinities()] == ["complete"]
    changed = (*one, "--temperature", 0.05)
    assert "re-tuned from cached affinities" in cli(*changed, "--out", tmp_path / "kept").err
    assert "affinities from features" in cli(*changed, "--out", tmp_path / "plain", "--affinities", "off").err
    assert masks(tmp_path / "kept") == masks(tmp_path / "plain")
    assert masks(tmp_path / "first") == masks(tmp_path / "read")


@pytest.mark.parametrize("fault", ["full disk", "no room"])
def test_affinities_that_cannot_be_cached_fail_no_run(
    cli: Cli,
    davis_source: Path,
    cache: Path,
    tmp_path: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("TED_PROPAGATE_AFFINITIES")
    one = ("propagate", davis_source, "--videos", "one", "--cache", cache, *SMALL)
    with monkeypatch.context() as patch:
        if fault == "full disk":
            writes = iter(range(3))

            def commit(_: AffinityWriter) -> None:
                if next(writes, None) is None:
                    raise CacheError("the disk is full")

            patch.setattr(AffinityWriter, "commit", commit)
        else:
            usage = shutil.disk_usage(cache)
            patch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10_000))
        found = cli(*one, "--out", tmp_path / "faulty", "--json")
    assert found.code == 0, found.err
    assert rows(found.out)["one"]["affinities"] == "features"
    assert ("not cached: the disk is full" in caplog.text) == (fault == "full disk")
    assert not [*cache.rglob("affinities/*")]
    assert cli(*one, "--out", tmp_path / "plain", "--affinities", "off").code == 0
    assert masks(tmp_path / "faulty") == masks(tmp_path / "plain")


@pytest.mark.parametrize("changes", [("--temperature", 0.05), ("--top-k", 9)])
def test_other_settings_are_read_from_them_exactly(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, changes: tuple[object, ...]
) -> None:
    propagate(cli, cache, tmp_path / "first", davis_source, "--affinities", "keep", "--save-soft")
    common = ("propagate", davis_source, "--cache", cache, "--save-soft", *SMALL, *changes)
    kept = cli(*common, "--out", tmp_path / "kept", "--json")
    assert {row["affinities"] for row in rows(kept.out).values()} == {"kept"}
    assert cli(*common, "--out", tmp_path / "plain", "--affinities", "off").code == 0
    assert masks(tmp_path / "kept") == masks(tmp_path / "plain")
    for video in rows(kept.out):
        labels = {
            name: zarr.open_array(tmp_path / name / video / "soft.zarr", mode="r")[:]
            for name in ("first", "kept", "plain")
        }
        np.testing.assert_array_equal(labels["kept"], labels["plain"])
        assert np.abs(labels["kept"] - labels["first"]).max() > 0.01


def test_shorter_contexts_are_exact_where_every_frames_best_were_kept(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    propagate(cli, cache, tmp_path / "first", davis_source, "--affinities", "keep-per-frame")
    kept = propagate(cli, cache, tmp_path / "kept", davis_source, "--context", 1, "--json")
    assert {row["affinities"] for row in rows(kept.out).values()} == {"kept"}
    propagate(cli, cache, tmp_path / "plain", davis_source, "--affinities", "off", "--context", 1)
    assert masks(tmp_path / "kept") == masks(tmp_path / "plain")


def test_what_is_not_proven_is_computed_unless_approximate_is_asked_for(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    propagate(cli, cache, tmp_path / "first", davis_source, "--affinities", "keep")
    other = ("--alpha", 0.95, "--json")
    exact = propagate(cli, cache, tmp_path / "exact", davis_source, *other)
    assert {row["affinities"] for row in rows(exact.out).values()} == {"features"}
    rough = propagate(cli, cache, tmp_path / "rough", davis_source, *other, "--affinities", "approximate")
    for row in rows(rough.out).values():
        assert row["affinities"] == "kept"
        assert 0 < row["unproven_pixels"] <= 1
        assert json.loads((Path(row["folder"]) / "ted.json").read_text())["unproven_pixels"] == row["unproven_pixels"]
    assert "approximate" in rough.err
    # Neither result passes for the other.
    refused = propagate(cli, cache, tmp_path / "rough", davis_source, *other)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    # What is exact is not called approximate, even if that were accepted.
    same = propagate(cli, cache, tmp_path / "same", davis_source, "--json", "--affinities", "approximate")
    assert {row["unproven_pixels"] for row in rows(same.out).values()} == {0.0}


def test_workers_make_the_same_masks_also_when_one_is_killed(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    propagate(cli, cache, tmp_path / "here", davis_source)
    killed: list[int] = []

    def kill_one() -> None:
        me = psutil.Process()
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not killed:
            for child in me.children(recursive=True):
                # A worker, not its nanny or the resource tracker: it has imported torch.
                with_torch = child.is_running() and any("libtorch_cpu" in m.path for m in _maps(child))
                if with_torch:
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = propagate(cli, cache, tmp_path / "there", davis_source, "--workers", 2)
    killer.join()
    assert result.code == 0
    assert killed
    assert masks(tmp_path / "here") == masks(tmp_path / "there")


def _maps(process: psutil.Process) -> list[Any]:
    try:
        return list(process.memory_maps())
    except psutil.Error:
        return []


def test_a_cluster_that_cannot_be_used_is_an_error_at_once(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    result = propagate(
        cli, cache, tmp_path / "out", davis_source, "--scheduler", "tcp://127.0.0.1:9", "--scheduler-timeout", 2
    )
    assert result.code == 2
    assert "127.0.0.1:9" in result.err
    assert not (tmp_path / "out").exists()
    both = propagate(cli, cache, tmp_path / "out", davis_source, "--scheduler", "127.0.0.1:9", "--workers", 2)
    assert both.code == 2


def test_a_device_of_other_machines_need_not_be_here() -> None:
    assert choose_device("cuda:7", elsewhere=True).index == 7
    assert choose_device("auto", elsewhere=True).type == "cpu"
    with pytest.raises(ConfigError, match="no device"):
        choose_device("toaster", elsewhere=True)
