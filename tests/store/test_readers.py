"""Read locks of a video's affinities."""

from pathlib import Path

from ted.store.readers import ReadLock


def test_a_reader_is_alone_until_another_comes(tmp_path: Path) -> None:
    with ReadLock(tmp_path) as one:
        with one.alone() as alone:
            assert alone
        with ReadLock(tmp_path) as other:
            for lock in (one, other):
                with lock.alone() as alone:
                    assert not alone
        with one.alone() as alone:
            assert alone
        one.close()
        with ReadLock(tmp_path) as other, other.alone() as alone:
            assert alone, "a closed lock holds nothing"


def test_asking_keeps_the_own_lock(tmp_path: Path) -> None:
    with ReadLock(tmp_path) as one, ReadLock(tmp_path) as other:
        with one.alone() as alone:
            assert not alone
        with other.alone() as alone:
            assert not alone, "the first is still a reader"


def test_nothing_is_locked_where_there_is_no_folder(tmp_path: Path) -> None:
    with ReadLock(tmp_path / "none") as lock, lock.alone() as alone:
        assert alone
    assert not (tmp_path / "none").exists()
