"""``ted cache`` on a cache that holds affinities beside features."""

import json
from pathlib import Path

import numpy as np
import pytest

from ted.store import AffinityUnit, Cache, open_cache
from tests.store.conftest import make_affinities, make_frames, make_spec, write_affinities, write_unit

from ..conftest import Cli


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """One video's features, and affinities of them."""
    cache = open_cache(tmp_path / "cache", create=True)
    unit = write_unit(cache, make_spec(), np.ones((5, 3, 4, 6), np.float16))
    write_affinities(cache, make_affinities(features=(unit.content_hash, "b"), feature_labels=(unit.spec.label, "b")))
    return cache


def test_ls_shows_affinities_on_lines_of_their_own(cli: Cli, cache: Cache) -> None:
    spec = cache.affinities()[0].spec
    lines = cli("cache", "ls", "--cache", cache.root).out.splitlines()
    features = spec.feature_labels[0].removeprefix("davis/swan ")
    assert lines[1].endswith(
        f"davis/swan affinities@{spec.digest()[:8]} radius 2 top-2 context 3, 2 fusions of {features} + b"
    )
    assert lines[1].split()[:3] == ["complete", "5", "frames"]
    assert lines[2].startswith("2 units, 2 complete")
    rows = json.loads(cli("cache", "ls", "--cache", cache.root, "--json").out)
    assert [row["kind"] for row in rows] == ["features", "affinities"]
    assert rows[1]["bytes"] == AffinityUnit(Path(rows[1]["folder"])).marker.total_bytes


def test_info_says_how_affinities_were_made(cli: Cli, cache: Cache) -> None:
    unit = cache.affinities()[0].open()
    (record,) = json.loads(cli("cache", "info", "--cache", cache.root, "--affinities", "--json").out)
    assert record["search"] == unit.spec.search
    assert record["content_hash"] == unit.content_hash
    assert record["run"] == {"host": "here"}
    text = cli("cache", "info", "--cache", cache.root).out
    assert "kind: affinities" in text
    assert "frames: 5 (00000 to 00004)" in text


def test_verify_finds_damage_and_repair_leaves_the_rest_to_be_resumed(cli: Cli, cache: Cache) -> None:
    entry = cache.affinities()[0]
    assert cli("cache", "verify", "--cache", cache.root).out.startswith("2 units: 2 ok")
    chunk = entry.folder / "cosines/c/3/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    found = cli("cache", "verify", "--cache", cache.root)
    assert found.code == 1
    assert "cosines/c/3/0/0/0 has another checksum" in found.out
    assert "`ted sweep` again" in found.err
    assert "extract" not in found.err
    assert cli("cache", "verify", "--cache", cache.root, "--repair").code == 0
    with cache.affinity_writer(entry.spec) as writer:
        assert writer.done == {0, 1, 2, 4}
        writer.write(3, *make_frames(entry.spec)[3])
        writer.finish({})
    assert cli("cache", "verify", "--cache", cache.root, "--affinities").out.startswith("1 unit: 1 ok")


def test_verify_reads_units_whose_description_is_gone(cli: Cli, cache: Cache) -> None:
    (cache.affinities()[0].folder / "zarr.json").unlink()
    found = cli("cache", "verify", "--cache", cache.root)
    assert found.code == 1
    assert "2 units: 1 ok, 1 damaged" in found.out


def test_rm_drops_affinities_and_keeps_features(cli: Cli, cache: Cache) -> None:
    removed = cli("cache", "rm", "--cache", cache.root, "--affinities", "--yes")
    assert removed.code == 0
    assert removed.out.startswith("1 unit removed")
    assert "davis/swan affinities@" in removed.err
    assert cache.affinities() == []
    assert [entry.state for entry in cache.entries()] == ["complete"]
    assert not list(cache.root.glob("*/*/affinities"))


def test_rm_drops_features_and_affinities_can_still_be_read(cli: Cli, cache: Cache) -> None:
    assert cli("cache", "rm", "--cache", cache.root, "--backbone", "adm", "--yes").code == 0
    assert cache.entries() == []
    (entry,) = cache.affinities()
    np.testing.assert_array_equal(entry.open().read(2)[0], make_frames(entry.spec)[2][0])
    assert cli("cache", "verify", "--cache", cache.root).out.startswith("1 unit: 1 ok")
    assert cli("cache", "rm", "--cache", cache.root, "--video", "swan", "--yes").code == 0
    assert list(cache.root.iterdir()) == []


def test_filters_of_features_and_affinities_exclude_each_other(cli: Cli, cache: Cache) -> None:
    refused = cli("cache", "rm", "--cache", cache.root, "--affinities", "--backbone", "adm", "--yes")
    assert refused.code == 2
    assert "--affinities selects no features" in refused.err
    assert len(cache.affinities()) == len(cache.entries()) == 1
