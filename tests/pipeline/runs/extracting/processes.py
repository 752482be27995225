"""Running ``ted`` in processes of their own, which can be killed: forked from one that has only imported everything.

To import torch and diffusers takes seconds, a fork takes milliseconds. The process that is forked has computed nothing,
so no thread of its libraries is lost on the way.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from ted.extract import sink
from ted.extract.frames import ImageFrames
from ted.pipeline.cli import main
from ted.pipeline.runs import processes
from ted.pipeline.runs.extracting import running
from ted.store import claims

__all__ = ["Hook", "Running", "end_all", "eventually", "forget_soon", "fork_devices", "hurry", "start"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "pytest.__main__",
        "ted.extract.backbones.adm",
        "ted.extract.backbones.i2vgen_xl",
        "ted.pipeline.cli.extract",
        "ted.pipeline.runs.propagating.propagation",
        "tests.pipeline.runs.extracting.processes",
        "tests.pipeline.runs.extracting.steps",
    ]
)

_STARTED: "list[Running]" = []
_RUN_DEVICE = processes._run

#: Called in a process before its command; goes there by pickling.
Hook = Callable[[], None]


@dataclass(frozen=True)
class Running:
    """A process that runs a command."""

    process: Any
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def ended(self) -> bool:
        return not self.process.is_alive()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 300) -> int:
        """Wait for the end; return the exit code, or the number of the signal that killed it, negative."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s: {self.err.read_text()}")
        assert "Traceback" not in self.err.read_text(), self.err.read_text()
        return int(code)

    @property
    def summary(self) -> dict[str, Any]:
        """What it printed with ``--json``."""
        return dict(json.loads(self.out.read_text()))


def start(folder: Path, *arguments: object, hooks: tuple[Hook, ...] = ()) -> Running:
    """Start ``ted`` with arguments; files for its output are made in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.err")))
    out, err = folder / f"{number}.out", folder / f"{number}.err"
    err.touch()
    process = _CONTEXT.Process(target=_run, args=([str(argument) for argument in arguments], out, err, hooks))
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"):  # heeded at the first start
        process.start()
    started = Running(process, out, err)
    _STARTED.append(started)
    return started


def end_all() -> None:
    """Kill what still runs, also what is suspended: pytest would wait for it at its end."""
    for started in _STARTED:
        started.process.kill()
        started.process.join()
    _STARTED.clear()


def eventually(true: Callable[[], object], seconds: float = 300) -> bool:
    """Wait until something is true; tell whether it is."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(true())


def process_state(pid: int) -> str:
    """Return a process's state: ``T`` when it is stopped, ``Z`` when its parent has yet to bury it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def hurry() -> None:
    """Hook: journals have an entry every three frames, and others' work is looked at all the time."""
    sink._FRAMES_A_COMMIT = 3
    running._LOOK_S = 0.1


def forget_soon() -> None:
    """Hook: what a kill left unfinished of a claim is out of the way at once, not in ten seconds or a minute."""
    claims._TORN_AFTER_S = claims._RIGHT_STALE_AFTER_S = 0.1


def fork_devices() -> None:
    """Hook: the processes of ``--devices`` are forks, too, and not spawned; and none is so quick that it does all."""
    processes._CONTEXT = _CONTEXT  # type: ignore[assignment]
    processes._run = _run_slowly
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]  # it is: this is its fork


def _settle() -> None:
    """Have a process compute on one thread, not wait for the disk, and heed Ctrl-C, wherever the tests were started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell has put into the background
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked if a test of devices began the fork server
    torch.set_num_threads(1)
    os.fsync = lambda fd: None  # type: ignore[assignment]


def _run_slowly(*arguments: Any) -> None:
    _settle()
    hurry()
    read = ImageFrames.read

    def slowly(self: ImageFrames, index: int) -> Any:
        time.sleep(0.05)
        return read(self, index)

    ImageFrames.read = slowly  # type: ignore[method-assign]
    _RUN_DEVICE(*arguments)


def _run(arguments: list[str], out: Path, err: Path, hooks: tuple[Hook, ...]) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["ted", *arguments]
    _settle()
    for hook in hooks:
        hook()
    main()
