"""The journal of a sweep: whole lines, durable, one process at a time."""

import json
import math
import multiprocessing
from pathlib import Path

import pytest

from ted.pipeline.metrics.jf import Statistics
from ted.pipeline.runs.sweeping.journal import JOURNAL, Journal, open_journal, read_journal
from ted.pipeline.tasks.masks.scores import MaskScore, ObjectScore
from ted.store.errors import CacheError, ClaimedError, ConfigError


def score(value: float, *, f: bool = True, decay: float = 0.125, count: int = 2) -> MaskScore:
    part = Statistics(mean=value, recall=0.1 + value / 3, decay=decay)
    objects = (ObjectScore(object_id=number, frames=7, j=part, f=part if f else None) for number in range(1, count + 1))
    return MaskScore(objects=tuple(objects))


def test_what_was_entered_is_read_back_exactly(tmp_path: Path) -> None:
    entered = {"a": score(1 / 3), "b": score(0.1 + 0.2, f=False)}
    with open_journal(tmp_path / "deep" / "sweep") as journal:
        assert not journal.scores
        journal.add_scores({"a": entered["a"]})
        journal.add_affinities("davis/x.zarr/affinities/1")
        journal.add_affinities("davis/x.zarr/affinities/1")
        journal.add_scores({"b": entered["b"]})
        assert journal.scores == entered
    with open_journal(tmp_path / "deep" / "sweep") as journal:
        assert journal.scores == entered
        assert journal.affinities == {"davis/x.zarr/affinities/1"}
    assert len((tmp_path / "deep" / "sweep" / JOURNAL).read_text().splitlines()) == 3
    assert read_journal(tmp_path / "deep" / "sweep") == {"a", "b"}
    assert read_journal(tmp_path / "none") == frozenset()


def test_a_decay_that_is_not_a_number_stays_so(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add_scores({"a": score(0.5, decay=math.nan)})
    with open_journal(tmp_path) as journal:
        found = journal.scores["a"]
        assert isinstance(found, MaskScore)
        assert math.isnan(found.objects[0].j.decay)


def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add_scores({"a": score(0.25)})
        journal.add_scores({"b": score(0.5, f=False, count=1)})  # a short line: it is cut at each byte
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        with open_journal(tmp_path) as journal:
            assert set(journal.scores) == {"a"}
            journal.add_scores({"c": score(0.75)})
        assert read_journal(tmp_path) == {"a", "c"}


def test_unreadable_lines_count_as_absent(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add_scores({"a": score(0.25)})
    path = tmp_path / JOURNAL
    path.write_bytes(
        b'{"scores": {"x": [{}]}}\n{"scores": {"x": {"pck": {}}, "y": {}}}\n{"scores": {"x": 1}}\nnoise \xff\n[1]\n'
        + path.read_bytes()
    )
    with open_journal(tmp_path) as journal:
        assert set(journal.scores) == {"a"}


def test_any_damage_to_a_line_is_found_and_only_that_line_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A short line: each of its bytes is changed.
    entered = {key: score(value, f=False, count=1) for key, value in (("a", 0.25), ("b", 0.5), ("c", 0.75))}
    with open_journal(tmp_path) as journal:
        for key, value in entered.items():
            journal.add_scores({key: value})
        journal.add_affinities("davis/x.zarr/affinities/1")
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    end = whole.index(b"\n", start)
    for at in range(start, end):
        for bit in (0, 2, 5):  # digits become others, letters change case or become others
            content = bytearray(whole)
            content[at] ^= 1 << bit
            if content[at] in b"\n\r":
                continue
            path.write_bytes(content)
            caplog.clear()
            with open_journal(tmp_path) as journal:
                found = dict(journal.scores)
                assert journal.affinities == {"davis/x.zarr/affinities/1"}
            assert found in ({"a": entered["a"], "c": entered["c"]}, entered), (at, bit)
            assert found == entered or "dropped damaged lines (2)" in caplog.text


def test_a_journal_of_an_earlier_version_resumes(tmp_path: Path) -> None:
    entered = {"a": score(0.25), "b": score(0.5)}
    (tmp_path / JOURNAL).write_text(
        "".join(json.dumps({"scores": {key: value.to_json()}}) + "\n" for key, value in entered.items())
        + '{"affinities": "davis/x.zarr/affinities/1"}\n'
    )
    with open_journal(tmp_path) as journal:
        assert journal.scores == entered
        assert journal.affinities == {"davis/x.zarr/affinities/1"}
        journal.add_scores({"c": entered["a"]})
    assert read_journal(tmp_path) == {"a", "b", "c"}


def test_overwriting_forgets(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add_scores({"a": score(0.25)})
    with open_journal(tmp_path, overwrite=True) as journal:
        assert not journal.scores
    assert read_journal(tmp_path) == frozenset()


def _hold(folder: Path, held: object, release: object) -> None:
    with open_journal(folder):
        held.set()  # type: ignore[attr-defined]
        release.wait(30)  # type: ignore[attr-defined]


def test_one_process_at_a_time_and_none_after_it_has_died(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    try:
        assert held.wait(60)
        with pytest.raises(ClaimedError, match="another process is sweeping into"), open_journal(tmp_path):
            pass
    finally:
        process.kill()
        process.join()
    with open_journal(tmp_path) as journal:
        assert not journal.scores


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is in the way"), open_journal(tmp_path):
        pass
    with pytest.raises(ConfigError, match="is in the way"), open_journal(tmp_path / "notes.txt"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def _fill(journal: Journal) -> None:
    for number in range(10_000):
        journal.add_scores({f"{number}": score(0.5)})


def test_a_full_disk_leaves_whole_lines(small_disk: Path) -> None:
    with open_journal(small_disk / "sweep") as journal:
        journal.add_scores({"a": score(0.25)})
        (small_disk / "filler").write_bytes(b"x" * 380_000)
        with pytest.raises(CacheError, match="disk is full"):
            _fill(journal)
        entered = set(journal.scores)
    (small_disk / "filler").unlink()
    with open_journal(small_disk / "sweep") as journal:
        assert set(journal.scores) == entered
        journal.add_scores({"last": score(0.75)})
    assert read_journal(small_disk / "sweep") == entered | {"last"}
