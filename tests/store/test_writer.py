import errno
import multiprocessing
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import Cache, FeatureChoice, FeatureRequest, Unit, UnitSpec, demote, open_cache, verify_unit
from ted.store import claims as claims_module
from ted.store.errors import CacheError, ClaimedError, Hint, IncompleteUnitError

from .conftest import raises_with_hint, write_unit
from .unit_inputs import FRAMES, make_spec


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder except the run record, which the marker does not list."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_resumed_unit_equals_an_undisturbed_one(tmp_path: Path, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    write_unit(open_cache(tmp_path / "a", create=True), spec, values)
    cache = open_cache(tmp_path / "b", create=True)
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.write(1, values[1])
        writer.commit()
        writer.write(2, values[2] * np.float16(0.5))  # written, not committed: to be done again
    (spec.folder(cache.root) / "features/c/3").mkdir()
    (spec.folder(cache.root) / "features/c/3/x.partial").write_bytes(b"torn")
    with cache.writer(spec) as writer:
        assert writer.done == {0, 1}
        for frame in (4, 2, 3):
            writer.write(frame, values[frame])
        writer.finish({})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_torn_journal_line_counts_as_absent(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    with cache.writer(spec) as writer:
        for frame in (0, 1):
            writer.write(frame, values[frame])
            writer.commit()
    journal = spec.folder(cache.root) / "features/ted/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    with cache.writer(spec) as writer:
        assert writer.done == {0}


def test_a_chunk_damaged_before_resuming_is_written_again(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16]
) -> None:
    with cache.writer(spec) as writer:
        for frame in (0, 1):
            writer.write(frame, values[frame])
        writer.commit()
    chunk = spec.folder(cache.root) / "features/c/1/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with cache.writer(spec) as writer:
        assert writer.done == {0}


def test_damaged_array_metadata_starts_the_unit_over(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.commit()
    (spec.folder(cache.root) / "features/zarr.json").write_text("{}")
    with cache.writer(spec) as writer:
        assert writer.done == frozenset()
        for frame in range(len(values)):
            writer.write(frame, values[frame])
        writer.finish({})
    np.testing.assert_array_equal(Unit(spec.folder(cache.root)).features.compute(), values)


def test_finishing_early_is_refused(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        with pytest.raises(IncompleteUnitError, match="lacks 4 frames, the first is 1"):
            writer.finish({})


def test_a_complete_unit_is_not_written_again_unasked(cache: Cache, unit: Unit) -> None:
    with raises_with_hint(CacheError, Hint("overwrite")), cache.writer(unit.spec):
        pass
    assert verify_unit(unit.folder).state == "ok"


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (1e6, "too large for float16")])
def test_values_that_float16_cannot_hold_are_refused(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16], value: float, message: str
) -> None:
    bad = values[0].astype(np.float32)
    bad[1, 2, 3] = value
    with cache.writer(spec) as writer, pytest.raises(CacheError, match=message):
        writer.write(0, bad)


def test_frames_of_another_shape_or_number_are_refused(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16]
) -> None:
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        with pytest.raises(CacheError, match="shape"):
            writer.write(1, values[1][:-1])
        with pytest.raises(CacheError, match="there is no frame 5"):
            writer.write(5, values[0])


def test_a_digest_that_only_begins_alike_is_noticed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureRequest, "digest", lambda self: "01234567" + str(self.seed) * 56)
    with cache.writer(make_spec(seed=1)):
        pass
    with pytest.raises(CacheError, match="same eight characters"), cache.writer(make_spec(seed=2)):
        pass


def test_two_writers_exclude_each_other(cache: Cache, spec: UnitSpec) -> None:
    with cache.writer(spec), pytest.raises(ClaimedError, match=f"process {os.getpid()}"), cache.writer(spec):
        pass
    with cache.writer(spec):
        pass


def _hold(root: Path, spec: UnitSpec, ready: Any) -> None:
    with Cache(root).writer(spec) as writer:
        writer.write(0, np.zeros((3, 4, 6), np.float16))
        writer.commit()
        ready.set()
        time.sleep(60)


def test_the_claim_of_a_killed_process_is_taken_over(cache: Cache, spec: UnitSpec) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(cache.root, spec, ready))
    process.start()
    assert ready.wait(300)
    with pytest.raises(ClaimedError), cache.writer(spec):
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with cache.writer(spec) as writer:
        assert writer.done == {0}


def test_a_silent_claim_of_another_host_is_taken_over_in_time(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        first = cache.writer(spec).__enter__()
    with pytest.raises(ClaimedError, match="on elsewhere"), cache.writer(spec):
        pass
    claim = spec.folder(cache.root) / "features/ted/claim.json"
    long_ago = time.time() - claims_module.STALE_AFTER_S - 1
    os.utime(claim, (long_ago, long_ago))
    with cache.writer(spec), pytest.raises(ClaimedError, match="took over"):
        first.write(0, values[0])
    first.__exit__(None, None, None)
    assert not list(spec.folder(cache.root).rglob("c/*"))


def test_a_full_disk_is_told_and_nothing_looks_whole(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.commit()
        with monkeypatch.context() as patch:
            patch.setattr("zarr.storage._local._put", full)
            with pytest.raises(CacheError, match="disk is full: free some space"):
                writer.write(1, values[1])
    with pytest.raises(IncompleteUnitError):
        Unit(spec.folder(cache.root))
    with cache.writer(spec) as writer:
        assert writer.done == {0}


def test_a_cache_where_a_file_is_in_the_way(tmp_path: Path, spec: UnitSpec) -> None:
    (tmp_path / "davis").write_text("a file")
    with pytest.raises(CacheError, match="cannot write"), Cache(tmp_path).writer(spec):
        pass


def test_verify_finds_damage_and_demotion_keeps_what_is_whole(
    cache: Cache, unit: Unit, values: NDArray[np.float16]
) -> None:
    assert verify_unit(unit.folder).state == "ok"
    before = tree(cache.root)
    chunk = unit.folder / "features/c/2/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    (unit.folder / "features/c/9").write_bytes(b"stray")
    verdict = verify_unit(unit.folder)
    assert verdict.state == "damaged"
    assert len(verdict.problems) == 2
    assert "features/c/2/0/0/0 has another checksum" in verdict.problems[0]
    (unit.folder / "features/c/9").unlink()
    demote(unit.folder)
    assert verify_unit(unit.folder).state == "incomplete"
    with cache.writer(unit.spec) as writer:
        assert writer.done == {0, 1, 3, 4}
        writer.write(2, values[2])
        writer.finish({})
    assert tree(cache.root) == before


def test_frames_may_be_written_by_many_threads(cache: Cache, values: NDArray[np.float16]) -> None:
    count = 40
    spec = make_spec(frame_names=tuple(map(str, range(count))))
    frames = np.random.default_rng(3).standard_normal((count, *values.shape[1:])).astype(np.float16)
    with cache.writer(spec) as writer, ThreadPoolExecutor(8) as pool:

        def write(frame: int) -> None:
            writer.write(frame, frames[frame])
            if frame % 3 == 0:
                writer.commit()

        list(pool.map(write, range(count)))
        assert writer.done | set(range(count)) == set(range(count))
        writer.finish({})
    assert verify_unit(spec.folder(cache.root)).state == "ok"
    np.testing.assert_array_equal(Unit(spec.folder(cache.root)).features.compute(), frames)


def test_frames_count_once_they_are_committed(cache: Cache, spec: UnitSpec, values: NDArray[np.float16]) -> None:
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        assert (writer.pending, writer.done) == (1, frozenset())
        writer.commit()
        assert (writer.pending, writer.done) == (0, frozenset({0}))


def test_units_from_before_noise_levels_are_found_and_resumed(
    cache: Cache, spec: UnitSpec, values: NDArray[np.float16]
) -> None:
    """A complete unit is unchanged; an interrupted unit keeps its frames and gets the noise level."""
    leveled = replace(spec, alpha_bar=0.25)
    with cache.writer(spec) as writer:
        writer.write(0, values[0])
        writer.commit()
    with cache.writer(leveled) as writer:
        assert writer.done == {0}
        for frame in range(1, FRAMES):
            writer.write(frame, values[frame])
        writer.finish({})
    unit = Unit(leveled.folder(cache.root))
    assert unit.spec.alpha_bar == 0.25
    np.testing.assert_array_equal(unit.features.compute(), values)
    cache.remove(unit.folder)

    old = write_unit(cache, spec, values)
    assert cache.state(leveled) == "complete"
    found = cache.find("davis", "swan", FeatureChoice(backbone="adm", timestep=51, tap="up_blocks[2]"))
    assert (found.spec.alpha_bar, found.content_hash) == (None, old.content_hash)
    with pytest.raises(CacheError, match="complete already"), cache.writer(leveled):
        pass
