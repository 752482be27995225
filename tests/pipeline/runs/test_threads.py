"""Tasks on threads: as many at once as there are threads, results in order, nothing taken far ahead."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from ted.pipeline.runs.sweeping.groups import SharedLabels
from ted.pipeline.runs.threads import Behind, Threads
from ted.pipeline.tasks import timing
from ted.pipeline.tasks.timing import Seconds, timed, timed_items
from ted.propagate.cluster import processor_count
from ted.store.errors import TedError


def test_results_come_in_order_and_tasks_run_at_once() -> None:
    barrier = threading.Barrier(3, timeout=20)

    def task(number: int) -> tuple[int, int]:
        if number < 3:
            barrier.wait()  # passes only when three tasks run at once
        time.sleep(0.01 * (number % 3))
        return number, torch.get_num_threads()

    assert list(Threads(3).map(task, ((number,) for number in range(10)))) == [(number, 1) for number in range(10)]
    assert list(Threads(2).map(task, ())) == []
    assert processor_count() >= 1


def test_tasks_are_not_taken_far_ahead() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[tuple[int]]:
        for number in range(20):
            taken.append(number)
            yield (number,)

    results = Threads(2).map(lambda number: number, tasks(), ahead=3)
    for number in range(20):
        assert next(results) == number
        assert len(taken) <= number + 3
    assert list(results) == []


def test_errors_come_in_the_place_of_their_task_and_end_the_rest() -> None:
    started: list[int] = []

    def task(number: int) -> int:
        started.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="three"):
        found.extend(Threads(1).map(task, ((number,) for number in range(50))))
    assert found == [0, 1, 2]
    assert len(started) < 12


def test_the_threads_of_others_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    found: list[int] = []
    torch.set_num_threads(2)
    try:
        assert list(Threads(1).map(abs, ((-1,),))) == [1]
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert found == [2]
    finally:
        torch.set_num_threads(before)


def test_shared_labels_reach_every_thread_and_are_made_little_ahead_of_the_slowest() -> None:
    made: list[int] = []

    def labels() -> Iterator[tuple[int, list[torch.Tensor]]]:
        for frame in range(9):
            made.append(frame)
            yield frame, [torch.tensor(float(frame))] * 4
        raise TedError("the last frame is damaged")

    shared = SharedLabels(labels(), readers=2)
    found: list[int] = []
    failed = threading.Event()

    def fast() -> None:
        try:
            found.extend(frame for frame, some in shared.read(0, slice(0, 3)) if len(some) == 3)
        except TedError:
            failed.set()

    thread = threading.Thread(target=fast)
    thread.start()
    slow = shared.read(1, slice(3, 4))
    for number in range(3):
        assert next(slow)[0] == number
        assert len(made) <= number + 4
    shared.leave(1)  # its video is scored: nobody waits for it
    thread.join(20)
    assert failed.is_set()
    assert found == [*range(9)]


def test_calls_behind_the_caller_keep_their_order_and_end_at_the_first_error() -> None:
    called: list[int] = []
    gate = threading.Event()

    def slow(number: int) -> None:
        assert gate.wait(20)
        called.append(number)
        if number == 2:
            raise OSError("no space left")

    with Behind(2) as later:
        for number in range(2):
            later(slow, number)
        assert called == []
        gate.set()
    assert called == [0, 1]

    def fail() -> None:
        with Behind(1) as later:
            for number in range(2, 99):
                later(slow, number)

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert called[2] == 2
    assert len(called) < 9


def test_times_add_up_and_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    seconds: Seconds = {}

    def slow() -> Iterator[int]:
        for number in range(3):
            clock[0] += 2
            yield number
        clock[0] += 1

    for _ in timed_items(slow(), seconds, "making"):
        with timed(seconds, "using"):
            clock[0] += 5
    assert seconds == {"making": 7, "using": 15}
