"""Write affinities: resume after interruptions, refuse wrong values, allow one writer at a time."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.store import AffinityUnit, AffinityWriter, Cache, open_cache
from ted.store.errors import (
    CacheError,
    ClaimedError,
    Hint,
    IncompleteUnitError,
)

from ..conftest import assert_affinities_equal, raises_with_hint, write_affinities
from ..test_writer import tree
from ..unit_inputs import make_affinities, make_frames


def test_a_resumed_unit_equals_an_undisturbed_one(tmp_path: Path) -> None:
    spec = make_affinities()
    frames = make_frames(spec)
    write_affinities(open_cache(tmp_path / "a", create=True), spec)
    cache = open_cache(tmp_path / "b", create=True)
    with cache.affinity_writer(spec) as writer:
        for frame in (0, 1, 2):
            writer.write(frame, *frames[frame])
        writer.commit()
        writer.write(3, *frames[4])  # written, not committed: to be done again
    with raises_with_hint(IncompleteUnitError, Hint("resume", {"maker": "search"})):
        AffinityUnit(spec.folder(cache.root))
    assert [entry.state for entry in cache.affinities()] == [cache.state(spec)] == ["incomplete"]
    (spec.folder(cache.root) / "bounds/c/1/0/0").write_bytes(b"torn")
    (spec.folder(cache.root) / "cosines/c/3/x.partial").write_bytes(b"torn")
    with cache.affinity_writer(spec) as writer:
        assert writer.done == {0, 2}  # frame 1 has only two intact chunks of three
        for frame in (4, 1, 3):
            writer.write(frame, *frames[frame])
        writer.finish({})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_frame_of_fill_values_is_stored_on_resuming(cache: Cache) -> None:
    spec = make_affinities()
    with cache.affinity_writer(spec) as writer:
        writer.write(1, *make_frames(spec)[1])
        writer.commit()
    with cache.affinity_writer(spec) as writer:
        assert writer.done == {1}
        writer.write_empty(0)
        writer.commit()
        assert (writer.folder / "sources/c/0/0/0").is_file()


def test_frames_with_another_number_of_slots_are_not_resumed(cache: Cache) -> None:
    with cache.affinity_writer(make_affinities(slots=6)) as writer:
        writer.write_empty(0)
        writer.commit()
    with cache.affinity_writer(make_affinities()) as writer:
        assert writer.done == frozenset()
    assert_affinities_equal(write_affinities(cache, make_affinities()))


def test_a_writer_stopped_while_it_discards_leaves_nothing_to_be_mistaken(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.affinity_writer(make_affinities(slots=6)) as writer:
        writer.write_empty(0)
        writer.commit()
    with monkeypatch.context() as patch:
        patch.setattr(AffinityWriter, "_find_written", lambda self: 1 / 0)  # after the description was replaced
        with pytest.raises(ZeroDivisionError), cache.affinity_writer(make_affinities()):
            pass
    with cache.affinity_writer(make_affinities()) as writer:
        assert writer.done == frozenset()


def test_damaged_metadata_of_one_array_starts_the_unit_over(cache: Cache) -> None:
    spec = make_affinities()
    with cache.affinity_writer(spec) as writer:
        writer.write_empty(0)
        writer.commit()
    (spec.folder(cache.root) / "bounds/zarr.json").write_text("{}")
    with cache.affinity_writer(spec) as writer:
        assert writer.done == frozenset()
    assert_affinities_equal(write_affinities(cache, spec))


def test_fewer_slots_are_filled_up_and_empty_ones_hold_zero(cache: Cache) -> None:
    spec = make_affinities(frame_count=1, grid=(1, 2))
    with cache.affinity_writer(spec) as writer:
        writer.write(
            0,
            np.array([[3, 2**31 - 1], [5, -1]], dtype=np.int64),
            np.array([[[0.5, 0.25], [1, 9]], [[-1, 0], [0.125, np.nan]]]),
            np.array([[1, np.inf], [0, -np.inf]]),
        )
        writer.finish({})
    sources, cosines, bounds = AffinityUnit(writer.folder).read(0)
    np.testing.assert_array_equal(sources, [[3, 2**31 - 1, -1, -1], [5, -1, -1, -1]])
    np.testing.assert_array_equal(cosines, [[[0.5, 0.25, 0, 0], [1, 0, 0, 0]], [[-1, 0, 0, 0], [0.125, 0, 0, 0]]])
    np.testing.assert_array_equal(bounds, [[1, np.inf], [0, -np.inf]])


@pytest.mark.parametrize(
    ("array", "value", "message"),
    [
        (0, 2**31, "too large for 32 bits"), (0, 2**32 + 10, "large"),
        (0, -2, "do not rise"), (0, 10, "do not rise"), (0, 11, "do not rise"),
        (1, np.nan, "not finite"), (1, 1e39, "not finite"), (2, np.nan, "NaN"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(cache: Cache, array: int, value: float, message: str) -> None:
    frame = [
        np.tile(np.array([9, 10, 11, -1]), (12, 1)),
        np.zeros((2, 12, 4)),
        np.zeros((2, 12)),
    ]
    with cache.affinity_writer(make_affinities()) as writer:
        writer.write(0, *frame)
        frame[array][..., 1] = value
        if value == 10:
            frame[0][0] = [9, -1, 10, -1]
        with pytest.raises(CacheError, match=message):
            writer.write(1, *frame)
        writer.commit()
        assert writer.done == {0}


def test_arrays_of_another_shape_and_frames_out_of_range_are_refused(cache: Cache) -> None:
    spec = make_affinities()
    sources, cosines, bounds = make_frames(spec)[1]
    with cache.affinity_writer(spec) as writer:
        for wrong in (
            (sources[1:], cosines[:, 1:], bounds[:, 1:]),
            (sources, cosines[:1], bounds),
            (sources, cosines[..., :2], bounds),
            (sources, cosines, bounds[:1]),
            (np.tile(sources, 2), np.tile(cosines, 2), bounds),
            (sources[0], cosines, bounds),
        ):
            with pytest.raises(CacheError, match="shapes"):
                writer.write(1, *wrong)
        with pytest.raises(CacheError, match="there is no frame 5"):
            writer.write_empty(5)
        with pytest.raises(IncompleteUnitError, match="lacks 5 frames"):
            writer.finish({})
    unit = write_affinities(cache, spec)
    with pytest.raises(CacheError, match="there is no frame -1"):
        unit.read(-1)


def test_two_writers_exclude_each_other(cache: Cache) -> None:
    spec = make_affinities()
    with (
        cache.affinity_writer(spec),
        pytest.raises(ClaimedError, match=f"process {os.getpid()}"),
        cache.affinity_writer(spec),
    ):
        pass
    with cache.affinity_writer(spec), pytest.raises(ClaimedError):
        cache.remove(spec.folder(cache.root))
    write_affinities(cache, spec)
    with pytest.raises(CacheError, match="complete already"), cache.affinity_writer(spec):
        pass


def test_a_full_disk_is_told_and_nothing_looks_whole(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    import zarr.storage._local as local

    spec, put = make_affinities(), local._put
    frames = make_frames(spec)

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if "bounds" in path.parts:  # after the frame's other chunks were written
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(path, *arguments, **options)

    with cache.affinity_writer(spec) as writer:
        writer.write_empty(0)
        writer.commit()
        with monkeypatch.context() as patch:
            patch.setattr("zarr.storage._local._put", full)
            with pytest.raises(CacheError, match="disk is full: free some space"):
                writer.write(1, *frames[1])
    with pytest.raises(IncompleteUnitError):
        AffinityUnit(spec.folder(cache.root))
    with cache.affinity_writer(spec) as writer:
        assert writer.done == {0}
