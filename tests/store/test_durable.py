"""Crashes of the machine: no file is renamed into place before it is on the disk."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import AffinityUnit, Cache, Unit, UnitSpec, copy_unit
from ted.store.artifacts.registry import layout_at
from ted.store.durable import write_atomic

from .conftest import write_affinities, write_unit
from .unit_inputs import make_affinities


class Disk:
    """Records which files were synced before each sync of a folder and each rename.

    Attributes
    ----------
    synced
        Files and folders whose content is on the disk.
    steps
        Path of each step (a sync or the target of a rename), with `synced` just before.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: set[Path] = set()
        self.steps: list[tuple[Path, set[Path]]] = []
        monkeypatch.setattr(os, "fsync", self._sync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, partial(self._rename, getattr(os, name)))
        monkeypatch.setattr(os, "mkdir", partial(self._mkdir, os.mkdir))

    def before(self, path: Path) -> list[set[Path]]:
        return [synced for step, synced in self.steps if step == path]

    def _sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.steps.append((path, set(self.synced)))
        self.synced.add(path)

    def _mkdir(self, mkdir: Callable[..., None], path: Any, *mode: int) -> None:
        mkdir(path, *mode)
        self.synced.discard(Path(path).parent)

    def _rename(self, rename: Callable[..., None], source: Any, target: Any) -> None:
        rename(source, target)
        self.steps.append((Path(target), set(self.synced)))
        self.synced.discard(Path(target).parent)
        if Path(source) in self.synced:
            self.synced.add(Path(target))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def assert_on_disk(synced: set[Path], unit: Path, keys: set[str]) -> None:
    """Check that files of a unit, and all folders between the unit and them, are on the disk."""
    assert keys
    for key in keys:
        assert unit / key in synced, key
        assert {unit / folder for folder in Path(key).parents} <= synced, key


def test_a_file_is_synced_before_it_has_its_name_and_the_name_after(tmp_path: Path, disk: Disk) -> None:
    write_atomic(tmp_path / "file", b"content")
    (temporary, _), (renamed, before), (folder, _) = disk.steps
    assert temporary.name.startswith(".file.")
    assert (renamed, folder, before) == (tmp_path / "file", tmp_path, {temporary})
    assert disk.synced >= {tmp_path / "file", tmp_path}


def test_a_journal_names_what_is_on_the_disk(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16], disk: Disk
) -> None:
    journal = spec.folder(cache.root) / "features/ted/journal.jsonl"
    with cache.writer(spec) as writer:
        for frame in (0, 1):
            writer.write(frame, values[frame])
            writer.commit()
    layout = layout_at(writer.folder).arrays[0]
    _empty, *entries = disk.before(journal)
    assert len(entries) == 2
    for frame, synced in enumerate(entries):
        assert_on_disk(synced, writer.folder, {layout.metadata, *(layout.chunk_key(done) for done in range(frame + 1))})


def features(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> Unit:
    return write_unit(cache, spec, values)


def affinities(cache: Cache, _spec: UnitSpec, _values: NDArray[np.float16]) -> AffinityUnit:
    return write_affinities(cache, make_affinities())


def copied(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> Unit:
    elsewhere = write_unit(Cache(cache.root.with_name("elsewhere")), spec, values)
    copy_unit(elsewhere.folder, cache.root)
    return Unit(spec.folder(cache.root))


@pytest.mark.parametrize("make", [features, affinities, copied])
def test_a_marker_names_what_is_on_the_disk(
    cache: Cache,
    spec: UnitSpec,
    values: NDArray[np.float16],
    disk: Disk,
    make: Callable[..., Unit | AffinityUnit],
) -> None:
    unit = make(cache, spec, values)
    if make is copied:  # it has another name until the marker is there, too
        (synced,) = disk.before(unit.folder)
        (place,) = {path.parents[2] for path in synced if path.match(".*.copying/features/ted/complete.json")}
    else:
        (synced,), place = disk.before(unit.folder / unit.spec.layout.records / "complete.json"), unit.folder
    assert_on_disk(synced, place, set(unit.marker.files))
    assert {place / unit.spec.layout.records, unit.folder.parent, cache.root} <= disk.synced
