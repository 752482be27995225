"""``ted cache copy`` and ``ted cache merge``."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ted.store import Cache, open_cache
from tests.store.conftest import FRAMES, damage_chunk, make_affinities, make_spec, write_affinities, write_unit
from tests.store.test_copying import files, times

from ..conftest import Cli

VALUES = np.random.default_rng(0).standard_normal((FRAMES, 3, 4, 6)).astype(np.float16)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Features of two videos, affinities of one, and a unit that was only begun."""
    cache = open_cache(tmp_path / "cache", create=True)
    for video in ("swan", "dog"):
        write_unit(cache, make_spec(video=video), VALUES)
    write_affinities(cache, make_affinities())
    with cache.writer(make_spec(timestep=300)) as writer:
        writer.write(0, VALUES[0])
        writer.commit()
    return cache


def test_copy_brings_what_is_complete_and_again_nothing(cli: Cli, cache: Cache, tmp_path: Path) -> None:
    there = tmp_path / "new" / "there"
    first = cli("cache", "copy", "--cache", cache.root, there)
    assert first.code == 0
    lines = first.out.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["3", "copied", "copied", "copied", "incomplete", "next:"]
    assert lines[-2].startswith("3 copied, 1 incomplete; 0.000 GB")
    assert cli("cache", "verify", "--cache", there).out.startswith("3 units: 3 ok")
    begun = str(make_spec(timestep=300).folder(Path()).parents[1])
    assert files(there) == {key: data for key, data in files(cache.root).items() if begun not in key}
    before = times(there)
    again = cli("cache", "copy", "--cache", cache.root, there)
    assert (again.code, again.out.splitlines()[-2][:33]) == (0, "3 there already, 1 incomplete; 0.")
    assert times(there) == before


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (("--video", "dog"), [("features", "dog")]),
        (("--affinities",), [("affinities", "swan")]),
        (("--feature", "adm:51:up_blocks[2]", "--dataset", "davis"), [("features", "dog"), ("features", "swan")]),
        (("--backbone", "svd"), []),
    ],
)
def test_filters(cli: Cli, cache: Cache, tmp_path: Path, options: tuple[str, ...], kinds: list[object]) -> None:
    assert cli("cache", "copy", tmp_path / "there", "--cache", cache.root, *options).code == 0
    there = Cache(tmp_path / "there")
    found = [entry.spec for entry in [*there.entries(), *there.affinities()]]
    assert [(spec.kind, spec.video) for spec in found] == kinds


def test_merge_brings_several_caches_together(cli: Cli, cache: Cache, tmp_path: Path) -> None:
    nodes = [tmp_path / "node-1", tmp_path / "node-2"]
    for node, video in zip(nodes, ("swan", "dog"), strict=True):
        assert cli("cache", "copy", node, "--cache", cache.root, "--video", video).code == 0
    write_unit(Cache(nodes[1]), make_spec(), VALUES + np.float16(1))  # other last bits of what node 1 has
    planned = json.loads(cli("cache", "merge", *nodes, "--cache", tmp_path / "all", "--dry-run", "--json").out)
    assert [row["state"] for row in planned["units"]] == ["wanted", "wanted", "wanted", "kept"]
    assert not (tmp_path / "all").exists()
    merged = json.loads(cli("cache", "merge", *nodes, "--cache", tmp_path / "all", "--json").out)
    assert [row["state"] for row in merged["units"]] == ["copied", "copied", "copied", "kept"]
    assert merged["bytes"] == planned["bytes"] == sum(row["bytes"] for row in merged["units"][:3])
    units = Cache(tmp_path / "all").units()
    assert [unit.spec.video for unit in units] == ["dog", "swan"]
    np.testing.assert_array_equal(units[1].features.compute(), VALUES)


def test_a_dry_run_says_what_would_be_copied(cli: Cli, cache: Cache, tmp_path: Path) -> None:
    result = cli("cache", "copy", tmp_path / "there", "--cache", cache.root, "--dry-run")
    assert result.code == 0
    assert result.out.splitlines()[-2].startswith("3 to copy, 1 incomplete; 0.000 GB, ")
    assert " GB free; cache: " in result.out
    assert not (tmp_path / "there").exists()


def test_damage_is_told_and_the_rest_is_copied(cli: Cli, cache: Cache, tmp_path: Path) -> None:
    damage_chunk(make_spec().folder(cache.root), "features/c/3/0/0/0", "flip")
    unreadable = make_affinities().folder(cache.root)
    (unreadable / "zarr.json").write_text("{")
    result = cli("cache", "copy", tmp_path / "there", "--cache", cache.root)
    assert result.code == 1
    assert result.out.splitlines()[-2].startswith("1 copied, 1 incomplete, 2 damaged")
    assert f"Error: {make_spec().label}: " in result.err
    assert f"Error: {unreadable}: " in result.err
    assert "run `ted cache verify`" in result.err
    assert [unit.spec.video for unit in Cache(tmp_path / "there").units()] == ["dog"]


def test_a_unit_that_is_being_written_there_is_left_alone(cli: Cli, cache: Cache, tmp_path: Path) -> None:
    with open_cache(tmp_path / "there", create=True).writer(make_spec()):
        result = cli("cache", "copy", tmp_path / "there", "--cache", cache.root)
    assert result.code == 1
    assert f"is being written by process {os.getpid()}" in result.err
    assert result.out.splitlines()[-2].startswith("2 copied, 1 incomplete, 1 failed")


def test_wrong_use(cli: Cli, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(cache.root)
    (tmp_path / "file").write_text("x")
    for arguments, code, message in (
        (("copy", tmp_path / "link", "--cache", cache.root), 2, "name two caches"),
        (("merge", cache.root, "--cache", cache.root), 2, "name two caches"),
        (("merge", "--cache", cache.root), 2, "SOURCE"),
        (("copy", "s3://bucket", "--cache", cache.root), 2, "a cache must be a local folder"),
        (("copy", tmp_path / "file", "--cache", cache.root), 1, "is a file; a cache is a folder"),
        (("merge", tmp_path / "nowhere", "--cache", cache.root), 1, "there is no cache at"),
        (("copy", tmp_path / "there", "--cache", cache.root, "--affinities", "--backbone", "x"), 2, "--affinities"),
    ):
        result = cli("cache", *arguments)
        assert (result.code, message in result.err) == (code, True), result.err
    assert not (tmp_path / "there").exists()


def test_a_full_disk_at_the_destination(cli: Cli, tmp_path: Path, small_disk: Path) -> None:
    cache = open_cache(tmp_path / "cache", create=True)
    for seed in range(3):
        large = np.random.default_rng(seed).standard_normal((FRAMES, 8, 16, 100)).astype(np.float16)  # 128 kB
        write_unit(cache, make_spec(seed=seed), large)
    there = small_disk / "there"
    result = cli("cache", "copy", there, "--cache", cache.root)
    assert result.code == 1
    assert "the disk is full: free some space and run the same command again, it resumes" in result.err
    whole = cli("cache", "verify", "--cache", there)
    assert whole.code == 0
    count = int(whole.out.split()[0])
    assert 0 < count < 3
    assert len(list(there.glob("*/*/*/*/*/*"))) == 2 * count  # zarr.json and the unit, and nothing half
    larger = Path(shutil.copytree(there, tmp_path / "there"))
    assert f"{3 - count} copied, {count} there already" in cli("cache", "copy", larger, "--cache", cache.root).out
