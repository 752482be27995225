"""Untrusted caches: forged records, special files, links, names that control terminals."""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.pipeline.choices.hints import explain
from ted.store import AffinityUnit, Cache, Unit, copy_unit, demote, open_cache, open_unit, tidy_unit, verify_unit
from ted.store.claims import take_claim
from ted.store.durable import parse_json
from ted.store.errors import CacheError, CorruptUnitError, SchemaError
from ted.store.marker import Marker, read_marker, record_file, write_marker
from tests.pipeline.conftest import Cli

from .claim_inputs import leave_claim
from .conftest import write_codec, write_unit
from .test_writer import tree
from .unit_inputs import make_spec

DEEP = b"[" * 100_000 + b"]" * 100_000
NESTED = b'{"a":' * 200 + b"1" + b"}" * 200  # deep enough for recursive code, not for the parser


@pytest.fixture
def unit(cache: Cache, values: NDArray[np.float16]) -> Unit:
    return write_unit(cache, make_spec(), values)


def reseal(folder: Path) -> None:
    """Write a marker for the unit's present files: an attacker can compute checksums too."""
    marker = read_marker(folder)
    metadata = {key: (folder / key).read_text() for key in marker.metadata}
    files = {key: record_file(folder / key) for key in marker.files}
    write_marker(folder, Marker(digest=marker.digest, files=files, metadata=metadata))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], key: str = "zarr.json") -> None:
    values = json.loads((folder / key).read_text())
    change(values["attributes"]["ted"] if key == "zarr.json" else values)
    (folder / key).write_text(json.dumps(values))
    reseal(folder)


LIES: list[tuple[str, Any]] = [
    ("timestep", "../../../../../victim"), ("timestep", "51"), ("timestep", -1), ("timestep", 1.5), ("timestep", True),
    ("timestep", 10**12), ("timestep", None), ("timestep", [51]), ("tap", ["up_blocks[2]"]), ("tap", ""),
    ("form", "pca:/etc/basis.npy"), ("form", ".."), ("form", 8), ("form", "float16/../../x"), ("dataset", 5),
    ("dataset", ""), ("dataset", {"a": 1}), ("frame_names", "abcde"), ("frame_names", [1, 2, 3, 4, 5]),
    ("source_size", [0, 10]), ("source_size", [48, 64, 3]), ("source_size", "48"), ("source", 7), ("alpha_bar", 2),
    ("request", []), ("request", None), ("request.video", None), ("request.backbone", ["adm"]),
    ("request.seed", "0"), ("request.ensemble", 0), ("request.frame_size", [24]), ("request.frame_size", [-24, 32]),
    ("request.conditioning", "none"), ("request.unheard_of", 1), ("schema_version", "1"), ("schema_version", True),
]  # fmt: skip


@pytest.mark.parametrize(("field", "lie"), LIES, ids=[f"{field}={lie!r:.20}" for field, lie in LIES])
def test_a_record_that_lies_is_refused_and_writes_nothing(
    cache: Cache, unit: Unit, tmp_path: Path, field: str, lie: Any
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")

    def change(values: dict[str, Any]) -> None:
        *outer, name = field.split(".")
        for key in outer:
            values = values[key]
        values[name] = lie

    rewrite(unit.folder, change)
    before = tree(tmp_path)
    with pytest.raises((SchemaError, CorruptUnitError)):
        Unit(unit.folder)
    assert cache.entries() == []
    assert verify_unit(unit.folder).state == "damaged"
    target = open_cache(tmp_path / "there", create=True)
    assert copy_unit(unit.folder, target.root).state in ("failed", "damaged")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("field", "lie"),
    [("grid", [3, "4"]), ("slots", 1.0), ("frame_count", "5"), ("features", [1]), ("search", {"fusions": 3}),
     ("search", {"radius": "../x", "top_k": 1, "fusions": [{"context": 1}]}), ("video", ["swan"])],
)  # fmt: skip
def test_a_record_of_affinities_that_lies_is_refused(
    cache: Cache, affinities: AffinityUnit, field: str, lie: Any
) -> None:
    rewrite(affinities.folder, lambda values: values.update({field: lie}))
    with pytest.raises(SchemaError, match="no readable description"):
        AffinityUnit(affinities.folder)
    assert cache.affinities() == []


def test_merge_stays_in_the_destination(cli: Cli, cache: Cache, unit: Unit, tmp_path: Path) -> None:
    rewrite(unit.folder, lambda values: values.update(timestep="../../../../../victim"))
    (tmp_path / "tvictim").mkdir()
    (tmp_path / "victim").mkdir()
    before = tree(tmp_path)
    result = cli("cache", "merge", cache.root, "--cache", tmp_path / "there")
    assert result.code == 1
    assert "timestep must be a whole number" in result.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("key", ["../../outside", "/etc/hostname", "features/../../x", "a//b", ".hidden"])
def test_a_marker_promises_files_of_its_unit_alone(unit: Unit, key: str) -> None:
    marker = read_marker(unit.folder)
    write_marker(unit.folder, Marker(digest=marker.digest, files={**marker.files, key: marker.files["zarr.json"]}))
    with pytest.raises(CorruptUnitError, match="marker"):
        read_marker(unit.folder)


# Links


PARTS = ["dataset", "video", "backbone", "timestep", "tap", "unit", "array", "records"]


@pytest.mark.parametrize("depth", range(1, 9), ids=PARTS)
def test_nothing_behind_a_link_is_removed_repaired_or_written(
    cache: Cache, unit: Unit, values: NDArray[np.float16], tmp_path: Path, depth: int
) -> None:
    other = open_cache(tmp_path / "linking", create=True)
    parts = (unit.folder / "features/ted").relative_to(cache.root).parts
    if depth > 6:
        shutil.copytree(unit.folder, other.root.joinpath(*parts[:6]))
        shutil.rmtree(other.root.joinpath(*parts[:depth]))
    link = other.root.joinpath(*parts[:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(cache.root.joinpath(*parts[:depth]))
    through = other.root.joinpath(*parts[:6])
    journal = unit.folder / "features/ted/journal.jsonl"
    journal.touch()
    before = tree(cache.root)
    np.testing.assert_array_equal(Unit(through).features.compute(), values)  # reading is fine
    for action in (
        lambda: other.remove(through),
        lambda: demote(through),
        lambda: other.writer(unit.spec, overwrite=True).__enter__(),
    ):
        with pytest.raises(CacheError, match="is a link: nothing behind it is changed"):
            action()
        assert tree(cache.root) == before
    tidy_unit(through)
    assert journal.exists()
    assert not list((unit.folder / "features/ted").glob("*claim*"))
    third = open_cache(tmp_path / "third", create=True)
    write_unit(third, make_spec(seed=1), values)
    if depth < 6:
        copied = copy_unit(next(third.folders("features")), other.root)
        assert copied.state == ("failed" if depth < 3 else "copied")
    assert tree(cache.root) == before


def test_rm_says_so_and_fails(cli: Cli, cache: Cache, unit: Unit, tmp_path: Path) -> None:
    other = open_cache(tmp_path / "linking", create=True)
    (other.root / "davis").mkdir(parents=True)
    (other.root / "davis/swan.zarr").symlink_to(cache.root / "davis/swan.zarr")
    before = tree(cache.root)
    result = cli("cache", "rm", "--cache", other.root, "--video", "swan", "--yes")
    assert result.code == 1
    assert "swan.zarr is a link" in result.err
    assert tree(cache.root) == before


def test_a_cache_may_itself_be_a_link(cache: Cache, unit: Unit, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(cache.root)
    linked = open_cache(tmp_path / "link")
    linked.remove(linked.entries()[0].folder)
    assert cache.entries() == []


def test_folders_outside_are_not_removed(cache: Cache, unit: Unit, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    for folder in (tmp_path / "victim", cache.root / "../victim", cache.root / "davis/../../victim"):
        with pytest.raises(CacheError):
            cache.remove(folder)
    assert (tmp_path / "victim").is_dir()


# Special files, and files that are too large or nested too deeply


def _replace(path: Path, by: str) -> None:
    path.unlink(missing_ok=True)
    if by == "pipe":
        os.mkfifo(path)
    elif by == "device":
        path.symlink_to("/dev/zero")
    elif by == "folder":
        path.mkdir()
    elif by == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 42)
    else:
        path.write_bytes({"deep": DEEP, "nested": NESTED}[by])


@pytest.mark.parametrize("by", ["pipe", "device", "folder", "huge", "deep", "nested"])
@pytest.mark.parametrize("key", ["zarr.json", "features/zarr.json", "features/ted/complete.json", "features/c/3/0/0/0"])
def test_a_file_that_is_none_is_damage(
    cache: Cache, unit: Unit, values: NDArray[np.float16], key: str, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_unit(cache, make_spec(seed=1), values)
    before = tree(unit.folder)
    _replace(unit.folder / key, by)
    with pytest.raises(CacheError):
        Unit(unit.folder).features.compute(scheduler="synchronous")
    with caplog.at_level(logging.WARNING):
        states = {entry.folder: entry.state for entry in cache.entries()}
    assert states.pop(other.folder) == "complete"
    if key == "zarr.json":
        assert states == {}
        assert str(unit.folder) in caplog.text
    else:
        assert states == {unit.folder: "damaged"}
    verdict = verify_unit(unit.folder)
    assert verdict.state == "damaged"
    assert key.split("/")[-1] in verdict.problems[0] or "marker" in verdict.problems[0]
    with cache.writer(unit.spec, overwrite=key.endswith("complete.json"), repair=True) as writer:
        for frame in set(range(5)) - writer.done:
            writer.write(frame, values[frame])
        writer.finish({"host": "here"})
    assert tree(unit.folder) == before


@pytest.mark.parametrize("by", ["pipe", "device", "folder", "huge", "deep", "nested"])
def test_a_run_record_that_is_none_counts_as_lost(unit: Unit, by: str) -> None:
    _replace(unit.folder / "features/ted/run.json", by)
    assert unit.run_record == {}
    assert verify_unit(unit.folder).state == "ok"


@pytest.mark.parametrize("by", ["pipe", "device", "folder", "huge", "deep", "nested"])
def test_a_journal_that_is_none_counts_as_empty(cache: Cache, values: NDArray[np.float16], by: str) -> None:
    spec = make_spec()
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.commit()
    _replace(spec.folder(cache.root) / "features/ted/journal.jsonl", by)
    if by == "folder":
        with pytest.raises(CacheError, match="cannot write"):
            cache.writer(spec).__enter__()
        return
    with cache.writer(spec) as writer:
        assert writer.done == set()
        for frame, features in enumerate(values):
            writer.write(frame, features)
        writer.finish({})
    assert verify_unit(spec.folder(cache.root)).state == "ok"


@pytest.mark.parametrize("by", ["pipe", "device", "huge", "deep", "dangling"])
def test_a_claim_that_is_none_delays_nobody(unit_folder: Path, by: str) -> None:
    path = leave_claim(unit_folder)
    if by == "dangling":
        path.unlink()
        path.symlink_to("nowhere")
    else:
        _replace(path, by)
        if not path.is_symlink():
            os.utime(path, (0, 0))
    with take_claim(unit_folder) as claim:
        claim.check()
    assert not path.is_symlink()


def test_a_dangling_link_as_right_to_replace_a_claim(unit_folder: Path) -> None:
    with take_claim(unit_folder) as claim:
        digest = hashlib.sha256(claim.content).hexdigest()[:16]
        claim.path.with_name(f".claim.json.{digest}.0.partial").symlink_to("nowhere")
    assert list(claim.path.parent.iterdir()) == []


def test_json_is_parsed_up_to_a_depth() -> None:
    assert parse_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert parse_json(b"[" * 60 + b"]" * 60)
    for text in (b"[" * 100 + b"]" * 100, NESTED, DEEP, b"{", b"\xff"):
        with pytest.raises(ValueError, match=r"nested|Expecting|decode"):
            parse_json(text)


# Metadata that contradict the unit's layout


@pytest.mark.parametrize(
    "change",
    [
        {"data_type": "float32"},
        {"dimension_names": ["frame", "y", "x", "component"]},
        {"dimension_names": None},
        {"shape": [5, 3, 4, 7]},
        {"shape": [6, 3, 4, 6]},
        {"shape": [5, 3, 4, 7], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 3, 4, 7]}}},
        {
            "shape": [5, 2**20, 2**20, 6],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 2**20, 2**20, 6]}},
        },
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 3, 4, 6]}}},
        {"codecs": [{"name": "nonsense"}]},
        {"node_type": "group"},
        {"attributes": json.loads(b'{"a":' * 40 + b"1" + b"}" * 40), "shape": "5"},
    ],
    ids=str,
)
def test_metadata_of_another_array_are_found_by_verify(unit: Unit, change: dict[str, Any]) -> None:
    rewrite(unit.folder, lambda values: values.update(change), key="features/zarr.json")
    assert verify_unit(unit.folder).state == "damaged"
    with pytest.raises(CorruptUnitError):
        open_unit(unit.folder)


def test_a_compressed_chunk_of_another_array_is_refused(cache: Cache, unit: Unit) -> None:
    stored = write_codec(cache, unit, "bitround:7")
    shape = [5, 3, 4, 7]
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, *shape[1:]]}}
    rewrite(stored.folder, lambda values: values.update(shape=shape, chunk_grid=grid), key="features/zarr.json")
    with pytest.raises(CorruptUnitError, match="cannot be decoded"):
        Unit(stored.folder).features.compute(scheduler="synchronous")


# Names


def test_names_cannot_control_the_terminal(cli: Cli, cache: Cache, values: NDArray[np.float16], tmp_path: Path) -> None:
    name = "swan\x1b[31m\r\n\u202e"
    write_unit(cache, make_spec(video=name, dataset="da\x07vis"), values)
    outputs = [
        cli("cache", "ls", "--cache", cache.root),
        cli("cache", "info", "--cache", cache.root),
        cli("cache", "copy", tmp_path / "there", "--cache", cache.root),
        cli("cache", "rm", "--cache", cache.root, "--dataset", "da\x07vis", "--yes"),
    ]
    for result in outputs:
        assert result.code == 0
        assert not set("\x1b\r\x07\u202e") & set(result.out + result.err)
    assert r"da\x07vis/swan\x1b[31m\r\n\u202e" in outputs[0].out
    assert json.loads(cli("cache", "ls", "--cache", tmp_path / "there", "--json").out)[0]["video"] == name
    assert explain(CacheError("no\x1b[2J\nsecond line")) == "no\\x1b[2J\nsecond line"


# File systems


def test_a_claim_is_released_when_no_inode_is_left(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "x" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *rest, **options)

    claim = take_claim(unit_folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        claim.release()
    assert list(claim.path.parent.iterdir()) == []
    with take_claim(unit_folder) as again:
        again.check()


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders(
    cache: Cache, values: NDArray[np.float16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    synced = os.fsync

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(answer, os.strerror(answer))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    unit = write_unit(cache, make_spec(), values)
    assert copy_unit(unit.folder, tmp_path / "there").state == "copied"
    assert verify_unit(next(open_cache(tmp_path / "there").folders("features"))).state == "ok"


def test_a_disk_that_fails_to_sync_a_folder_is_told(
    cache: Cache, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CacheError, match="Input/output error"):
        write_unit(cache, make_spec(), values)
