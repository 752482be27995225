"""``--devices``: a process for each, over one list; what becomes of them when one of them, or their parent, ends."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from ted.extract.frames import FrameSize
from ted.extract.settings import ExtractionSettings
from ted.extract.video_job import ExtractionReport
from ted.pipeline.choices.features import parse_job
from ted.pipeline.datasets.sources import Source, open_source
from ted.pipeline.runs.extracting.devices import _Tally
from ted.pipeline.runs.extracting.request import ExtractionRequest, Share
from ted.pipeline.runs.extracting.running import Extracted, Failure

from .conftest import tree
from .processes import Hook, Running, eventually, forget_soon, fork_devices, hurry, process_state, start

FORKS = (hurry, fork_devices)


def start_two(folder: Path, command: tuple[str, ...], hooks: tuple[Hook, ...] = FORKS) -> Running:
    return start(folder, *command, "--cache", folder / "cache", "--devices", "cpu,cpu", hooks=hooks)


def writers(cache: Path) -> set[int]:
    """Return the processes that have claims."""
    found = set()
    for path in cache.rglob("claim.json"):
        try:
            found.add(int(json.loads(path.read_text())["pid"]))
        except (FileNotFoundError, ValueError):  # given up, or being made, at this moment
            continue
    return found


def both_at_work(cache: Path) -> set[int]:
    found: set[int] = set()

    def look() -> bool:
        found.clear()
        found.update(writers(cache))
        return len(found) == 2

    assert eventually(look)
    return found


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or left for its parent to bury."""
    try:
        return process_state(pid) == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes between opening and reading
        return True


@pytest.mark.parametrize(
    "hooks", [pytest.param(FORKS, id="forked"), pytest.param((), id="spawned", marks=pytest.mark.slow)]
)
def test_two_processes_make_what_one_makes(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes], hooks: tuple[Hook, ...]
) -> None:
    run = start_two(tmp_path, command, hooks)
    both = both_at_work(tmp_path / "cache")
    assert run.wait() == 0
    assert run.pid not in both
    assert all(map(has_ended, both))
    summary = run.summary
    assert len(summary["written"]) == len(set(summary["written"])) == 16
    assert summary["skipped"] == summary["failed"] == []
    assert tree(tmp_path / "cache") == expected
    again = start_two(tmp_path, command, hooks)
    assert again.wait() == 0
    assert sorted(again.summary["skipped"]) == sorted(summary["written"])
    assert again.summary["written"] == []


def test_a_process_that_is_killed_is_survived_and_remarked_upon(
    tmp_path: Path, command: tuple[str, ...], expected: Mapping[str, bytes]
) -> None:
    run = start_two(tmp_path, command)
    os.kill(min(both_at_work(tmp_path / "cache")), signal.SIGKILL)
    assert run.wait() == 0  # all that was asked for is there
    assert "the process on cpu ended early (killed by SIGKILL)" in run.err.read_text()
    assert len({*run.summary["written"], *run.summary["skipped"]}) == 16
    assert run.summary["failed"] == []
    # It may have been killed just after a marker: what it left is tidied by the next run.
    assert start(tmp_path, *command, "--cache", tmp_path / "cache", hooks=(forget_soon,)).wait() == 0
    assert tree(tmp_path / "cache") == expected


def test_when_all_are_killed_what_is_missing_has_failed(tmp_path: Path, command: tuple[str, ...]) -> None:
    run = start_two(tmp_path, command)
    for pid in both_at_work(tmp_path / "cache"):
        os.kill(pid, signal.SIGKILL)
    assert run.wait() == 1
    assert "killed by SIGKILL" in run.summary["failed"][0]["reason"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_to_the_parent_ends_all_and_leaves_no_claim(
    tmp_path: Path, command: tuple[str, ...], number: int, code: int
) -> None:
    run = start_two(tmp_path, command)
    both = both_at_work(tmp_path / "cache")
    for pid in (*both, run.pid):  # as a terminal or a batch system does, to the whole group
        os.kill(pid, number)
    assert run.wait() == code
    assert all(map(has_ended, both))
    assert not list((tmp_path / "cache").rglob("claim.json"))
    assert not list((tmp_path / "cache").rglob(".claim*"))


def test_processes_end_when_their_parent_is_killed(tmp_path: Path, command: tuple[str, ...]) -> None:
    run = start_two(tmp_path, command)
    both = both_at_work(tmp_path / "cache")
    run.send(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert eventually(lambda: all(map(has_ended, both)))
    assert not list((tmp_path / "cache").rglob("claim.json"))
    assert len(list((tmp_path / "cache").rglob("complete.json"))) < 16


# One result for each share.


@pytest.fixture
def request_of_two(davis_source: Path) -> ExtractionRequest:
    job = parse_job("adm:51:output_blocks[7]")
    shares = tuple(Share(job=job, video=video) for video in open_source(Source(path=davis_source)))
    settings = ExtractionSettings(frame_size=FrameSize(short_side=64), overlap=0)
    return ExtractionRequest(cache=Path("c"), shares=shares, weights={}, settings=settings)


def report(*, written: bool) -> ExtractionReport:
    return ExtractionReport(
        written=("unit",) if written else (),  # type: ignore[arg-type]
        skipped=(),
        frames_computed=0,
        batch_size=1,
        seconds=0,
        waited={},
    )


def test_a_share_has_failed_when_all_processes_failed_at_it(request_of_two: ExtractionRequest) -> None:
    first, second = request_of_two.shares
    failure = Failure(share=first, reason="out of memory")
    done = Extracted(share=first, report=report(written=True))
    seen = Extracted(share=first, report=report(written=False))
    cases: list[tuple[list[Extracted | Failure], Extracted | Failure]] = [
        ([failure, failure], failure),
        ([failure, done], done),
        ([failure, seen], seen),
        ([seen, done], done),
        ([seen, failure], seen),
        ([failure], failure),
    ]
    for results, outcome in cases:
        tally: _Tally[Extracted] = _Tally(request_of_two.shares, 2)
        now = [settled for result in results for settled in tally.add(0, result)]
        rest = list(tally.rest([]))
        assert [*now, *rest][0] is outcome
        assert [result.share for result in (*now, *rest)] == [first, second]
        assert isinstance(rest[-1], Failure)
