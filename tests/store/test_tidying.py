"""Tidy leftovers of killed processes in complete units and in groups."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from ted.store import Cache, UnitSpec, durable, tidy_unit
from ted.store.claims import take_claim

from .conftest import write_unit
from .test_writer import tree

VALUES = np.ones((5, 3, 4, 6), np.float16)


def leave_claim_of_a_dead_process(unit: Path) -> None:
    child = os.fork()
    if not child:
        take_claim(unit)
        os._exit(0)
    os.waitpid(child, 0)


def test_a_complete_unit_keeps_nothing_of_a_killed_writer(cache: Cache, spec: UnitSpec) -> None:
    unit = write_unit(cache, spec, VALUES).folder
    whole = tree(cache.root)
    leave_claim_of_a_dead_process(unit)
    for name in ("journal.jsonl", ".claim.json.0123456789abcdef.0.partial"):
        (unit / "features/ted" / name).write_text("{}\n")
    tidy_unit(unit)
    assert tree(cache.root) == whole


def test_what_a_living_process_holds_is_left_alone(cache: Cache, spec: UnitSpec) -> None:
    unit = write_unit(cache, spec, VALUES).folder
    with take_claim(unit):
        held = tree(cache.root)
        tidy_unit(unit)
        assert tree(cache.root) == held


def test_an_incomplete_unit_keeps_its_journal(cache: Cache, spec: UnitSpec) -> None:
    with cache.writer(spec) as writer:
        writer.write(0, VALUES[0])
        writer.commit()
    left = tree(cache.root)
    unit = spec.folder(cache.root)
    tidy_unit(unit)
    assert tree(cache.root) == left
    assert (unit / "features/ted/journal.jsonl").is_file()
    tidy_unit(unit.with_name("nothing"))


def test_a_kill_while_groups_are_made_leaves_nothing_in_the_groups(
    cache: Cache, spec: UnitSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_unit(Cache(cache.root.with_name("other")), spec, VALUES)
    child = os.fork()
    if not child:
        monkeypatch.setattr(durable, "sync_folder", lambda _: None)
        monkeypatch.setattr(Path, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        cache.writer(spec).__enter__()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(cache.root.rglob("*.partial"))
    write_unit(cache, spec, VALUES)
    assert tree(cache.root) == tree(whole.folder.parents[5])
