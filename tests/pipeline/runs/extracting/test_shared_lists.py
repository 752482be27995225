"""Several processes over one list, in reality: every unit is written once, and who dies or sleeps is dealt with."""

import contextlib
import json
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .conftest import tree
from .processes import Running, eventually, hurry, process_state, start
from .steps import At, signal_self


def assert_written_once(runs: Sequence[Running], expected: Mapping[str, bytes], cache: Path) -> None:
    """Check that the summaries of some processes together name every unit once, and each of them all units."""
    written = [label for run in runs for label in run.summary["written"]]
    assert len(written) == len(set(written)) == 16
    for run in runs:
        assert {*run.summary["written"], *run.summary["skipped"]} == set(written)
        assert run.summary["failed"] == []
    assert tree(cache) == expected


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_a_list(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], count: int
) -> None:
    cache = tmp_path / "cache"
    runs = [start(tmp_path, *command, "--cache", cache, hooks=(hurry,)) for _ in range(count)]
    assert [run.wait() for run in runs] == [0] * count
    assert_written_once(runs, expected, cache)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGCONT])
def test_who_sleeps_is_waited_for_and_who_dies_is_replaced(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], number: int
) -> None:
    cache = tmp_path / "cache"
    sleep = At(cache=cache, log=tmp_path / "steps", phase="chunks", number=40, act=partial(signal_self, signal.SIGSTOP))
    sleeper = start(tmp_path, *command, "--cache", cache, hooks=(hurry, sleep))
    assert eventually(lambda: process_state(sleeper.pid) == "T")
    others = [start(tmp_path, *command, "--cache", cache, hooks=(hurry,)) for _ in range(2)]
    assert eventually(lambda: all("waiting for" in run.err.read_text() for run in others))
    # It holds the video that it was at, and maybe the next one, whose frames it was reading; the others do the rest.
    assert eventually(lambda: len(claims(cache)) + whole(cache) == 16)
    assert {claim["pid"] for claim in claims(cache)} == {sleeper.pid}
    sleeper.send(number)
    assert [run.wait() for run in others] == [0, 0]
    assert sleeper.wait() == (0 if number == signal.SIGCONT else -number)
    assert_written_once([*others, sleeper] if number == signal.SIGCONT else others, expected, cache)


def claims(cache: Path) -> list[dict[str, Any]]:
    """Return the claims that there are; one that goes away meanwhile is none."""
    found = []
    for path in cache.rglob("claim.json"):
        with contextlib.suppress(FileNotFoundError):
            found.append(json.loads(path.read_text()))
    return found


def whole(cache: Path) -> int:
    """Count the complete units."""
    return len(list(cache.rglob("complete.json")))
