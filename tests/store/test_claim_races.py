"""If several processes compete for a claim, exactly one gets it, in every order of events."""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.store import Cache, UnitSpec, claims, owners, verify_unit
from ted.store.claims import STALE_AFTER_S, Claim, take_claim
from ted.store.errors import ClaimedError

from .claim_inputs import GONE, age, leave_claim, litter
from .conftest import write_unit

# Real races


def prepare(root: Path, rounds: int) -> list[Path]:
    """Write a stale claim into each folder, in turn of a dead process, of a silent host, and truncated."""
    units = [root / str(number) for number in range(rounds)]
    for number, unit in enumerate(units):
        here: dict[str, Any] = {"host": owners.this_process()["host"], **GONE}
        path = leave_claim(unit, seconds=STALE_AFTER_S + 10, token=str(number), **(here if number % 3 else {}))
        if number % 5 == 0:
            path.write_bytes(b"")
            age(path, 11)
    return units


def compete(units: list[Path], wait: Callable[[], Any]) -> dict[int, Claim]:
    """Try to take over each claim at the same time as all competitors; return the claims held."""
    won = {}
    for number, unit in enumerate(units):
        wait()
        with suppress(ClaimedError):
            won[number] = take_claim(unit)
    return won


def _compete(units: list[Path], barrier: Any, results: Any) -> None:
    won = compete(units, barrier.wait)
    barrier.wait()  # the claims of a process that has ended are stale: not before all have tried
    results.put(list(won))


def test_one_of_many_processes_takes_over_each_stale_claim(tmp_path: Path) -> None:
    units = prepare(tmp_path, rounds := 60)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(5), context.Queue()
    processes = [context.Process(target=_compete, args=(units, barrier, results)) for _ in range(5)]
    for process in processes:
        process.start()
    won = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(60)
    assert sorted(number for numbers in won for number in numbers) == list(range(rounds))
    assert sum(map(bool, won)) > 1  # it was a race
    assert not any(litter(unit) for unit in units)


def test_one_of_many_threads_takes_over_each_stale_claim(tmp_path: Path) -> None:
    units = prepare(tmp_path, rounds := 60)
    barrier = threading.Barrier(5)
    with ThreadPoolExecutor(5) as pool:
        won = [job.result() for job in [pool.submit(compete, units, barrier.wait) for _ in range(5)]]
    assert sorted(number for mine in won for number in mine) == list(range(rounds))
    for claim in (claim for mine in won for claim in mine.values()):
        claim.check()
        claim.release()
    assert not any(litter(unit) for unit in units)


def _enter_and_leave(unit: Path, rounds: int, results: Any) -> None:
    entered = broken = 0
    for _ in range(rounds):
        try:
            with take_claim(unit) as claim:
                try:
                    (unit / "inside").open("xb").close()
                except FileExistsError:
                    broken += 1
                entered += 1
                claim.check()
                (unit / "inside").unlink()
                if entered % 3 == 0:  # not released, as by a dead process
                    owner = json.loads(claim.content) | GONE
                    claim.path.write_text(json.dumps(owner))
        except ClaimedError:
            pass
    results.put((entered, broken))


def test_nobody_holds_a_claim_together_with_another(unit_folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_enter_and_leave, args=(unit_folder, 150, results)) for _ in range(4)]
    for process in processes:
        process.start()
    counts = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(60)
    assert sum(broken for _, broken in counts) == 0
    assert sum(entered for entered, _ in counts) > 20
    assert litter(unit_folder) == []


# Single interleavings


def before_the_right(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Call `happens` after a claim was found stale, before the right to replace it is requested."""
    right = claims._right_to_replace

    @contextmanager
    def late(path: Path, content: bytes) -> Iterator[bool]:
        monkeypatch.setattr(claims, "_right_to_replace", right)
        happens()
        with right(path, content) as granted:
            yield granted

    monkeypatch.setattr(claims, "_right_to_replace", late)


def with_the_right(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Call `happens` while the right to replace a claim is held, before the claim is checked again."""
    right = claims._right_to_replace

    @contextmanager
    def held(path: Path, content: bytes) -> Iterator[bool]:
        with right(path, content) as granted:
            monkeypatch.setattr(claims, "_right_to_replace", right)
            happens()
            yield granted

    monkeypatch.setattr(claims, "_right_to_replace", held)


def test_taken_over_by_another_since_it_was_found_stale(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)
    other: list[Claim] = []
    before_the_right(monkeypatch, lambda: other.append(take_claim(unit_folder)))
    with pytest.raises(ClaimedError, match="being written"):
        take_claim(unit_folder)
    other[0].check()
    other[0].release()
    assert litter(unit_folder) == []


def test_taken_over_and_released_since_it_was_found_stale(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)
    before_the_right(monkeypatch, lambda: take_claim(unit_folder).release())
    with take_claim(unit_folder) as claim:
        claim.check()
    assert litter(unit_folder) == []


def test_renewed_since_it_was_found_stale(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)
    with_the_right(monkeypatch, lambda: os.utime(path))
    with pytest.raises(ClaimedError, match="being written"):
        take_claim(unit_folder)
    assert json.loads(path.read_bytes())["host"] == "elsewhere"
    assert litter(unit_folder) == []


def test_a_third_process_while_one_takes_over(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)

    def third() -> None:
        with pytest.raises(ClaimedError, match="being taken over"):
            take_claim(unit_folder)

    with_the_right(monkeypatch, third)
    with take_claim(unit_folder) as claim:
        claim.check()
    assert litter(unit_folder) == []


def test_released_by_its_owner_while_one_takes_over(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended owner must not delete its claim now: a third process's claim could be replaced."""
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        owner = take_claim(unit_folder)
    age(owner.path, STALE_AFTER_S + 10)
    with_the_right(monkeypatch, owner.release)
    with take_claim(unit_folder) as claim:
        claim.check()
        with pytest.raises(ClaimedError):
            owner.check()
    assert litter(unit_folder) == []


def test_removed_with_its_folder_since_it_was_found_stale(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)
    before_the_right(monkeypatch, lambda: shutil.rmtree(unit_folder))
    with take_claim(unit_folder) as claim:
        claim.check()


@pytest.mark.parametrize("nameless", [False, True], ids=["by_its_process", "by_its_age"])
def test_a_crash_while_taking_over_blocks_nobody_for_ever(
    unit_folder: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    path = leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)
    for number in range(3):  # crash upon crash
        with monkeypatch.context() as patch:
            patch.setattr(claims, "write_atomic", lambda *_: os._exit(9))
            child = os.fork()
            if not child:
                take_claim(unit_folder)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert len(litter(unit_folder)) == number + 1
        if nameless:  # as on a full disk, or torn
            path.with_name(litter(unit_folder)[-1]).write_bytes(b"")
            with pytest.raises(ClaimedError, match="being taken over"):
                take_claim(unit_folder)
            age(path.with_name(litter(unit_folder)[-1]), 61)
    with take_claim(unit_folder) as claim:
        claim.check()
    assert litter(unit_folder) == []


def test_what_a_crash_leaves_is_litter_to_nobody(cache: Cache, spec: UnitSpec) -> None:
    values = np.ones((5, 3, 4, 6), np.float16)
    records = spec.folder(cache.root) / "features/ted"
    records.mkdir(parents=True)
    (records / ".claim.json.0123456789abcdef.0.partial").touch()
    assert cache.entries() == []
    unit = write_unit(cache, spec, values)
    assert litter(unit.folder) == ["complete.json", "run.json"]
    (records / ".claim.json.0123456789abcdef.0.partial").touch()
    assert verify_unit(unit.folder).state == "ok"
    np.testing.assert_array_equal(unit.features.compute(), values)
