"""Processes of this machine that compute on one device each."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any, Self, TypeVar

import torch

from ...store.errors import TedError
from .signals import exit_on_signals

T = TypeVar("T")

#: Processes are spawned: CUDA does not survive a fork.
_CONTEXT = multiprocessing.get_context("spawn")


def start_process(
    target: Callable[..., None], device: str, threads: int, *arguments: Any
) -> tuple[SpawnProcess, Connection]:
    """Start ``target(link, device, *arguments)`` in a process; return it, and this process's end of the link.

    The link ends with the process. The process ignores Ctrl-C, leaves its `with` blocks on SIGTERM, and ends with this
    process. It computes with a number of torch's threads.
    """
    # One pipe per process: a process killed while writing would leave a shared queue locked.
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(
        target=_run, args=(target, theirs, device, threads, *arguments), name=device, daemon=True
    )
    with _interrupts_blocked():
        process.start()
    theirs.close()
    return process, ours


def describe_exit(code: int) -> str:
    """Describe the exit code of a process."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Devices:
    """An executor (`ted.propagate.cluster.Workers`) with a process for each of several devices of this machine.

    The last argument of every task is the name of a device, for which each process puts its own. Processes start with
    their first task; another one replaces a process that died. Use as a context manager, which ends the processes, and
    the tasks that they are running.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.count = len(devices)
        threads = max(1, torch.get_num_threads() // self.count)
        self._processes = [_Process(str(device), threads) for device in devices]
        self._free: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._free.put(process)
        self._pool = ThreadPoolExecutor(self.count, "ted-device")  # its threads wait for the processes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.end()
        self._pool.shutdown()
        for process in self._processes:
            process.join()

    def map(
        self,
        function: Callable[..., T],
        tasks: Iterable[tuple[Any, ...]],
        *,
        ahead: int | None = None,
        lost: Callable[[TedError], T] | None = None,
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task, with the process's device; see `Workers.map`."""
        most = max(1, 2 * self.count + 2 if ahead is None else ahead)
        pending: deque[Future[T]] = deque()
        try:
            for task in tasks:
                pending.append(self._pool.submit(self._call, function, task[:-1], lost))
                if len(pending) >= most:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _call(self, function: Callable[..., T], task: tuple[Any, ...], lost: Callable[[TedError], T] | None) -> T:
        process = self._free.get()
        try:
            return process.call(function, task)
        except _Died as error:
            if lost is None:
                raise
            return lost(error)
        finally:
            self._free.put(process)


class _Died(TedError):
    """A process died while it ran a task."""


class _Process:
    """A process that runs tasks on its device, one after the other."""

    def __init__(self, device: str, threads: int) -> None:
        self._device, self._threads = device, threads
        self._running: tuple[SpawnProcess, Connection] | None = None
        self._ended = False
        self._lock = threading.Lock()

    def call(self, function: Callable[..., T], task: tuple[Any, ...]) -> T:
        """Return ``function(*task, device)``; raises its error, or _Died."""
        payload = pickle.dumps((function, (*task, self._device)))
        with self._lock:
            if self._ended:
                raise _Died(f"the process on {self._device} has ended")
            self._running = self._running or start_process(_serve, self._device, self._threads)
            process, link = self._running
        try:
            link.send_bytes(payload)
            answer = link.recv_bytes()
        except (EOFError, OSError) as error:
            process.join()
            link.close()
            with self._lock:
                self._running = None
            raise _Died(
                f"the process on {self._device} ended early ({describe_exit(process.exitcode or 0)}); if memory ran "
                "out, use fewer devices; then run the same command again"
            ) from error
        done, result = pickle.loads(answer)
        if not done:
            raise result
        found: T = result
        return found

    def end(self) -> None:
        """End the process, and what it is running."""
        with self._lock:
            self._ended = True
            if self._running:
                self._running[0].terminate()

    def join(self) -> None:
        """Wait for the process's end."""
        if self._running:
            self._running[0].join()


def _serve(link: Connection, _device: str) -> None:
    """Run the tasks that come over a link; send results, or errors."""
    while True:
        try:
            payload = link.recv_bytes()
        except EOFError:
            return
        try:
            function, task = pickle.loads(payload)
            answer = pickle.dumps((True, function(*task)))
        except Exception as error:
            if not isinstance(error, TedError):
                error.add_note(traceback.format_exc())
            answer = pickle.dumps((False, error))
        link.send_bytes(answer)


def _run(target: Callable[..., None], link: Connection, device: str, threads: int, *arguments: Any) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent handles these and ends this process
        signal.signal(number, signal.SIG_IGN)
    exit_on_signals()
    _end_with_parent()
    torch.set_num_threads(threads)
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)
    target(link, device, *arguments)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C for processes that start in this block, also while they import; their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this process when its parent has died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
