"""Claims: one process holds a unit, keeps it as long as it lives, and gives way only when it is gone."""

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.store import Cache, UnitSpec, claims, heartbeat, owners, verify_unit
from ted.store.claims import STALE_AFTER_S, Claim, take_claim
from ted.store.errors import ClaimedError

from .conftest import make_spec, write_unit
from .test_writer import tree

NAME = "features/ted/claim.json"


def age(path: Path, seconds: float) -> None:
    """Make a file older than the file system's clock says now."""
    probe = path.with_name("probe")
    probe.touch()
    then = probe.stat().st_mtime - seconds
    probe.unlink()
    os.utime(path, (then, then))


def leave_claim(unit: Path, *, seconds: float = 0, **changes: Any) -> Path:
    """Leave the claim of another host's process, renewed so many seconds ago; None takes a key away."""
    owner = {"token": "t", **owners.this_process(), "host": "elsewhere"} | changes
    path = unit / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: value for key, value in owner.items() if value is not None}))
    age(path, seconds)
    return path


def litter(unit: Path) -> list[str]:
    return sorted(path.name for path in (unit / NAME).parent.iterdir() if path.name != "claim.json")


@pytest.fixture
def unit_folder(tmp_path: Path) -> Path:
    return tmp_path / "unit"


@pytest.fixture
def quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.02)


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def beating() -> int:
    return sum(thread.name == "ted-heartbeat" for thread in threading.enumerate())


@pytest.mark.usefixtures("quick_heart")
def test_one_thread_renews_all_claims_while_any_is_held(tmp_path: Path) -> None:
    held = [take_claim(tmp_path / str(number)) for number in range(5)]
    assert beating() == 1
    held.pop().release()
    for _ in range(2):
        for claim in held:
            age(claim.path, 1000)
        assert eventually(lambda: all(time.time() - claim.path.stat().st_mtime < 100 for claim in held))
    for claim in held:
        claim.check()
        claim.release()
    assert eventually(lambda: beating() == 0)
    with take_claim(tmp_path / "0") as claim:
        age(claim.path, 1000)
        assert eventually(lambda: time.time() - claim.path.stat().st_mtime < 100)


@pytest.mark.usefixtures("quick_heart")
def test_a_claim_of_another_is_neither_renewed_nor_released(unit_folder: Path) -> None:
    claim = take_claim(unit_folder)
    path = leave_claim(unit_folder, seconds=1000, pid=7)
    there = path.stat().st_mtime
    assert not claim.renew()
    assert eventually(lambda: beating() == 0)  # there is nothing left to renew
    with pytest.raises(ClaimedError, match="process 7 on elsewhere took over") as caught:
        claim.check()
    assert (caught.value.host, caught.value.pid) == ("elsewhere", 7)
    claim.release()
    assert path.stat().st_mtime == there


def test_releasing_what_has_vanished(unit_folder: Path) -> None:
    claim = take_claim(unit_folder)
    shutil.rmtree(unit_folder)
    with pytest.raises(ClaimedError, match="another process took over"):
        claim.check()
    claim.release()
    unit_folder.write_text("a file")
    assert not claim.renew()
    claim.release()


@pytest.mark.usefixtures("quick_heart")
def test_a_fork_neither_renews_nor_releases_its_parents_claims(tmp_path: Path) -> None:
    claim = take_claim(tmp_path / "mine")
    child = os.fork()
    if not child:
        claim.release()
        with take_claim(tmp_path / "other"):
            os._exit(0 if beating() == 1 and len(heartbeat.HEARTBEAT._held) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    claim.check()
    claim.release()
    with take_claim(tmp_path / "other"):  # the child left through no `with`
        pass


def test_who_holds_it_is_told(unit_folder: Path) -> None:
    with take_claim(unit_folder), pytest.raises(ClaimedError, match="being written by process") as caught:
        take_claim(unit_folder)
    assert caught.value.pid == os.getpid()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.host, copy.pid) == (str(caught.value), caught.value.host, caught.value.pid)


GONE = {"process_start": "0"}  # nobody's: as if the number had been given to another process


@pytest.mark.parametrize(
    ("changes", "seconds", "stale"),
    [
        ({}, STALE_AFTER_S - 10, False),
        ({}, STALE_AFTER_S + 10, True),
        ({}, -STALE_AFTER_S - 10, True),  # times to come are of a copy
        (GONE, 0, False),
        ({"host": owners.this_process()["host"]}, STALE_AFTER_S + 10, False),  # runs here: it is this process
        ({"host": owners.this_process()["host"], **GONE}, 0, True),
        ({"host": owners.this_process()["host"], **GONE, "boot_id": "another"}, STALE_AFTER_S - 10, False),
        ({"host": owners.this_process()["host"], **GONE, "pid_namespace": "pid:[1]"}, STALE_AFTER_S - 10, False),
        ({"host": owners.this_process()["host"], "pid_namespace": "pid:[1]"}, STALE_AFTER_S + 10, True),
        # Claims of earlier versions.
        ({"boot_id": None, "pid_namespace": None}, STALE_AFTER_S + 10, False),
        ({"boot_id": None, "pid_namespace": None}, 3610, True),
        ({"host": owners.this_process()["host"], "boot_id": None, "pid_namespace": None}, 3610, False),
        ({"host": owners.this_process()["host"], "boot_id": None, "pid_namespace": None, **GONE}, 0, True),
        ({"host": None}, STALE_AFTER_S - 10, False),
        ({"pid": None, "host": owners.this_process()["host"]}, 0, True),
    ],
)
def test_when_a_claim_is_taken_over(unit_folder: Path, changes: dict[str, Any], seconds: float, stale: bool) -> None:
    path = leave_claim(unit_folder, seconds=seconds, **changes)
    before = path.read_bytes()
    if stale:
        with take_claim(unit_folder) as claim:
            claim.check()
    else:
        with pytest.raises(ClaimedError, match="wait for it, or, if that process is gone, delete"):
            take_claim(unit_folder)
        assert path.read_bytes() == before
    assert litter(unit_folder) == []


@pytest.mark.parametrize("content", [b"", b'{"token": "t', b"[1]", b"\xff", b"[" * 10**5])
def test_a_torn_claim_is_waited_for_a_moment(unit_folder: Path, content: bytes) -> None:
    path = leave_claim(unit_folder)
    path.write_bytes(content)
    with pytest.raises(ClaimedError, match=r"process \? on \?"):
        take_claim(unit_folder)
    age(path, 11)
    with take_claim(unit_folder) as claim:
        claim.check()


@pytest.mark.parametrize("moment", ["before_the_link", "after_the_link"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "stale"])
def test_a_process_killed_while_it_claims_delays_nobody(
    unit_folder: Path, monkeypatch: pytest.MonkeyPatch, there: bool, moment: str
) -> None:
    if there:
        leave_claim(unit_folder, host=owners.this_process()["host"], process_start="another")
    for _ in range(3):
        with monkeypatch.context() as patch:
            if moment == "before_the_link":
                patch.setattr(os, "link", lambda *_: os._exit(9))
            else:
                patch.setattr(Path, "unlink", lambda *_, **__: os._exit(9))
            child = os.fork()
            if not child:
                take_claim(unit_folder)
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with take_claim(unit_folder) as claim:
        claim.check()


def test_a_file_system_without_hard_links(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    for there in (False, True):
        if there:
            leave_claim(unit_folder, seconds=STALE_AFTER_S + 10)
        with take_claim(unit_folder) as claim:
            claim.check()
            with pytest.raises(ClaimedError, match=f"process {os.getpid()} on"):
                take_claim(unit_folder)
        assert litter(unit_folder) == []


def test_a_link_whose_answer_was_lost(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS asks again when no answer comes, and the second says that the file is there."""
    link = os.link

    def twice(*paths: Path) -> None:
        link(*paths)
        link(*paths)

    monkeypatch.setattr(os, "link", twice)
    with take_claim(unit_folder) as claim:
        claim.check()
    assert litter(unit_folder) == []


def test_clocks_of_hosts_need_not_agree(unit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_claim(unit_folder, seconds=STALE_AFTER_S - 10)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    with pytest.raises(ClaimedError):
        take_claim(unit_folder)


# Who wins.


def prepare(root: Path, rounds: int) -> list[Path]:
    """Leave a stale claim in each of some folders: of dead processes, of silent hosts, and torn ones, by turns."""
    units = [root / str(number) for number in range(rounds)]
    for number, unit in enumerate(units):
        here: dict[str, Any] = {"host": owners.this_process()["host"], **GONE}
        path = leave_claim(unit, seconds=STALE_AFTER_S + 10, token=str(number), **(here if number % 3 else {}))
        if number % 5 == 0:
            path.write_bytes(b"")
            age(path, 11)
    return units


def compete(units: list[Path], wait: Callable[[], Any]) -> list[int]:
    """Try to take each claim over, all competitors at once; return which were won. They are held for ever."""
    won = []
    for number, unit in enumerate(units):
        wait()
        try:
            take_claim(unit)
        except ClaimedError:
            continue
        won.append(number)
    return won


def _compete(units: list[Path], barrier: Any, results: Any) -> None:
    results.put(compete(units, barrier.wait))


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
    assert sorted(number for numbers in won for number in numbers) == list(range(rounds))
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
                if entered % 3 == 0:  # left as by a process that is gone
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


# Single interleavings.


def before_the_right(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Have something happen after a claim was found stale, and before the right to replace it is sought."""
    right = claims._right_to_replace

    @contextmanager
    def late(path: Path, content: bytes) -> Iterator[bool]:
        monkeypatch.setattr(claims, "_right_to_replace", right)
        happens()
        with right(path, content) as granted:
            yield granted

    monkeypatch.setattr(claims, "_right_to_replace", late)


def with_the_right(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Have something happen when the right to replace a claim is held, before the second look at it."""
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
    """The owner was suspended; were its claim deleted now, a third could hold one that is then replaced."""
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


# A process that was suspended.

FROZEN = """
import socket, sys
from pathlib import Path
import numpy as np
socket.gethostname = lambda: "elsewhere"
from ted.store import heartbeat, open_cache
from ted.store.errors import ClaimedError
from tests.store.conftest import make_spec

heartbeat.HEARTBEAT_S = 0.02
with open_cache(Path(sys.argv[1])).writer(make_spec()) as writer:
    writer.write(0, np.zeros((3, 4, 6)))
    writer.commit()
    print("ready", flush=True)
    sys.stdin.readline()
    all_frames = {f"features/c/{frame}/0/0/0": None for frame in range(5)}
    for step in (
        lambda: writer.write(1, np.zeros((3, 4, 6))),
        lambda: (writer._pending.update(dict(writer._written)), writer.commit()),
        lambda: (writer._pending.clear(), writer._written.update(all_frames), writer.finish({})),
    ):
        try:
            step()
        except ClaimedError as error:
            print(error, flush=True)
"""


def test_a_process_that_was_suspended_notices_and_writes_nothing(cache: Cache) -> None:
    """Neither a frame, nor a journal entry, nor the marker."""
    cache.root.mkdir()
    spec, values = make_spec(), np.ones((5, 3, 4, 6), np.float16)
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN, str(cache.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        age(spec.folder(cache.root) / NAME, STALE_AFTER_S + 10)
        with cache.writer(spec) as writer:
            assert writer.done == {0}
            writer.write(1, values[1])
            writer.commit()
            before = tree(cache.root)
            process.stdin.write("go on\n")
            process.stdin.flush()
            process.send_signal(signal.SIGCONT)
            for _ in range(3):
                assert f"process {os.getpid()} on " in process.stdout.readline()
            assert process.wait(120) == 0
            assert tree(cache.root) == before
            for frame in (2, 3, 4):
                writer.write(frame, values[frame])
            writer.finish({})
    assert verify_unit(spec.folder(cache.root)).state == "ok"
