"""Manual damage: edited, moved or swapped files, renamed folders."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import Cache, Unit, UnitSpec, demote, verify_unit
from ted.store.errors import CacheError, ClaimedError, CorruptUnitError
from ted.store.marker import Marker, read_marker, write_marker

from .conftest import write_unit
from .unit_inputs import make_spec

MARKER, CLAIM = "features/ted/complete.json", "features/ted/claim.json"


def repair(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> frozenset[int]:
    """Demote a unit and write its missing frames; return the frames that were intact."""
    demote(spec.folder(cache.root))
    with cache.writer(spec) as writer:
        kept = writer.done
        for frame in set(range(len(values))) - kept:
            writer.write(frame, values[frame])
        writer.finish({})
    assert verify_unit(spec.folder(cache.root)).state == "ok"
    np.testing.assert_array_equal(Unit(spec.folder(cache.root)).features.compute(), values)
    return kept


@pytest.mark.parametrize(
    ("before", "after"), [('"timestep": 51', '"timestep": 52'), ('"davis"', '"sivad"'), ('"00003"', '"00004"')]
)
def test_an_edited_description_is_refused(unit: Unit, before: str, after: str) -> None:
    path = unit.folder / "zarr.json"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(CorruptUnitError, match="checksum differs"):
        Unit(unit.folder)


def test_a_marker_that_leaves_out_a_frame_is_refused(unit: Unit) -> None:
    files = {key: record for key, record in read_marker(unit.folder).files.items() if key != "features/c/3/0/0/0"}
    write_marker(unit.folder, Marker(digest=unit.request.digest(), files=files))
    with pytest.raises(CorruptUnitError, match="does not promise exactly the frames"):
        Unit(unit.folder)


@pytest.mark.parametrize("change", ["timestep", "seed", "video"])
def test_a_unit_in_the_folder_of_another_is_found_and_not_resumed(
    cache: Cache, unit: Unit, values: NDArray[np.float16], change: str
) -> None:
    other = make_spec(**{change: "dog" if change == "video" else 300})
    write_unit(cache, other, values + np.float16(1))
    shutil.rmtree(unit.folder)
    other.folder(cache.root).rename(unit.folder)
    assert verify_unit(unit.folder).state == "damaged"
    assert repair(cache, unit.spec, values) == set()


def test_the_description_of_another_unit_is_no_collision(cache: Cache, unit: Unit, values: NDArray[np.float16]) -> None:
    other = write_unit(cache, make_spec(seed=1), values)
    shutil.copy(other.folder / "zarr.json", unit.folder / "zarr.json")
    repair(cache, unit.spec, values)


def _stray(unit: Path) -> None:
    (unit / "features/c/3/0/0/1").write_bytes(b"stray")
    (unit / "features/c/9").mkdir()
    (unit / "features/c/9/0").write_bytes(b"stray")
    elsewhere = unit.parents[5] / "elsewhere"
    (unit / "features/c/1").rename(elsewhere)  # readers follow the link; clearing leaves it alone
    (unit / "features/c/1").symlink_to(elsewhere)


def _folder_for_chunk(unit: Path) -> None:
    (unit / "features/c/2/0/0/0").unlink()
    (unit / "features/c/2/0/0/0").mkdir()
    (unit / "features/c/2/0/0/0/x").write_bytes(b"stray")


def _chunk_for_folder(unit: Path) -> None:
    shutil.rmtree(unit / "features/c/2")
    (unit / "features/c/2").write_bytes(b"stray")


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(_stray, {0, 1, 2, 3, 4}), (_folder_for_chunk, {0, 1, 3, 4}), (_chunk_for_folder, {0, 1, 3, 4})],
)
def test_what_is_in_the_way_is_cleared(
    cache: Cache, unit: Unit, values: NDArray[np.float16], damage: Callable[[Path], None], kept: set[int]
) -> None:
    damage(unit.folder)
    assert verify_unit(unit.folder).state == "damaged"
    assert len(cache.entries()) == 1
    assert repair(cache, unit.spec, values) == kept
    assert not (unit.folder / "features/c/9").exists()


@pytest.mark.parametrize("where", ["features/c", "features/c/1", "features/x", "x"])
def test_nothing_behind_a_link_out_of_the_cache_is_deleted(
    cache: Cache, unit: Unit, values: NDArray[np.float16], tmp_path: Path, where: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "0").mkdir(parents=True)
    for name in ("mine", "0/mine", "mine.partial"):
        (outside / name).write_text("precious")
    if (unit.folder / where).exists():
        shutil.rmtree(unit.folder / where)
    (unit.folder / where).symlink_to(outside)
    assert verify_unit(unit.folder).state == "damaged"
    kept = {"features/c": set(), "features/c/1": {0, 2, 3, 4}}.get(where, set(range(5)))
    assert repair(cache, unit.spec, values) == kept
    assert not (unit.folder / where).is_symlink()
    assert {path.name for path in outside.rglob("*")} == {"0", "mine", "mine.partial"}
    assert (outside / "0/mine").read_text() == "precious"


@pytest.mark.parametrize(
    "key", ["notes.txt", "features/x/zarr.json", "features/.zarray", ".DS_Store", "features/ted/x"]
)
def test_strays_outside_of_chunks(cache: Cache, unit: Unit, values: NDArray[np.float16], key: str) -> None:
    """Zarr readers could take strays for members; hidden files and files beside the records are harmless."""
    (unit.folder / key).parent.mkdir(exist_ok=True)
    (unit.folder / key).write_text("{}")
    harmless = "/." in f"/{key}" or "ted" in key
    assert verify_unit(unit.folder).state == ("ok" if harmless else "damaged")
    assert repair(cache, unit.spec, values) == set(range(5))
    assert (unit.folder / key).exists() == harmless


@pytest.mark.parametrize("key", ["zarr.json", "features/zarr.json"])
def test_metadata_of_a_unit_of_an_earlier_version_start_it_over(
    cache: Cache, unit: Unit, values: NDArray[np.float16], key: str
) -> None:
    """The marker of such a unit does not contain its metadata."""
    write_marker(unit.folder, Marker(digest=unit.marker.digest, files=unit.marker.files))
    assert Unit(unit.folder).content_hash == unit.content_hash
    (unit.folder / key).write_text("{}")
    assert repair(cache, unit.spec, values) == set()


def test_a_unit_without_its_description_is_still_verified(
    cache: Cache, unit: Unit, values: NDArray[np.float16]
) -> None:
    (unit.folder / "zarr.json").unlink()
    assert list(cache.folders("features")) == [unit.folder]
    assert cache.state(unit.spec) == "damaged"
    repair(cache, unit.spec, values)


def test_a_marker_that_cannot_be_read_is_told_and_nothing_is_thrown_away(
    cache: Cache, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def fail(path: Path, *rest: int, **options: int) -> int:
        if path == unit.folder / MARKER:
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, "open", fail)
    assert [entry.state for entry in cache.entries()] == ["damaged"]
    with pytest.raises(CacheError, match="cannot read"):
        demote(unit.folder)
    assert (unit.folder / "features/c/0/0/0/0").is_file()


def test_a_failing_disk_is_told(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    features = unit.features
    monkeypatch.setattr("zarr.storage._local._get", fail)
    with pytest.raises(CacheError, match=r"cannot read .*Input/output error"):
        features[0].compute(scheduler="synchronous")


def test_the_claim_of_a_killed_child_is_taken_over_before_it_is_waited_for(cache: Cache, spec: UnitSpec) -> None:
    code = (
        "import sys; from pathlib import Path; from ted.store.claims import take_claim;"
        "take_claim(Path(sys.argv[1])); print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(spec.folder(cache.root))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        with pytest.raises(ClaimedError), cache.writer(spec):
            pass
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie: dead but still listed
        with cache.writer(spec):
            pass


def test_a_claim_with_missing_entries_is_taken_over(cache: Cache, spec: UnitSpec) -> None:
    claim = spec.folder(cache.root) / CLAIM
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    with cache.writer(spec):
        pass


def test_a_unit_begun_while_its_neighbour_is_removed_is_kept(
    cache: Cache, unit: Unit, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = make_spec(tap="up_blocks[3]")
    listing = Path.iterdir

    def list_then_begin(folder: Path) -> Iterator[Path]:
        listed = list(listing(folder))
        if folder.name == "t51":  # gets a member after it was seen as empty
            with cache.writer(neighbour) as writer:
                writer.write(0, values[0])
                writer.commit()
        return iter(listed)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", list_then_begin)
        cache.remove(unit.folder)
    folder = neighbour.folder(cache.root)
    for group in (folder, *list(folder.parents)[:4]):
        assert (group / "zarr.json").is_file()
    with cache.writer(neighbour) as writer:
        assert writer.done == {0}
