"""A process keeps its claim while it lives; others take it over only after its death."""

import errno
import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ted.store import heartbeat, owners
from ted.store.claims import STALE_AFTER_S, take_claim
from ted.store.errors import ClaimedError

from .claim_inputs import GONE, age, leave_claim, litter


@pytest.fixture
def quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.02)


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
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
    with take_claim(tmp_path / "other"):  # the child did not leave through a `with` statement
        pass


def test_who_holds_it_is_told(unit_folder: Path) -> None:
    with take_claim(unit_folder), pytest.raises(ClaimedError, match="being written by process") as caught:
        take_claim(unit_folder)
    assert caught.value.pid == os.getpid()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.host, copy.pid) == (str(caught.value), caught.value.host, caught.value.pid)


@pytest.mark.parametrize(
    ("changes", "seconds", "stale"),
    [
        ({}, STALE_AFTER_S - 10, False),
        ({}, STALE_AFTER_S + 10, True),
        ({}, -STALE_AFTER_S - 10, True),  # future times come from copied files
        (GONE, 0, False),
        ({"host": owners.this_process()["host"]}, STALE_AFTER_S + 10, False),  # this process, which is alive
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
    """NFS repeats a request whose answer was lost; the second answer is that the file exists."""
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
