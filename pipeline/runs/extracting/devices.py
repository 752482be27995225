"""Work of stage 1 with one process per device of this machine; all share one list by claims."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, Protocol, TypeVar

import torch

from ....store.errors import ConfigError, TedError
from ...choices.hints import plural
from ..processes import describe_exit, start_process
from .request import ExtractionRequest, Share
from .running import Extracted, Failure, extract


def parse_devices(text: str) -> list[str]:
    """Parse a list such as ``0,1,2`` (CUDA devices), ``cuda:0,cuda:1`` or ``cpu,cpu``.

    Raises ConfigError for an empty list, or a CUDA device that is named twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    devices = [f"cuda:{name}" if name.isdecimal() else name for name in names]
    if not devices:
        raise ConfigError("--devices names no device; give a list such as 0,1,2,3")
    twice = next((name for name in devices if name != "cpu" and devices.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--devices names {twice} twice: two processes would compete for its memory")
    return devices


class Request(Protocol):
    """A request of work on several shares, which can be pickled."""

    @property
    def shares(self) -> Sequence[Share]:
        """The shares; all processes go through them in this order."""


class Done(Protocol):
    """A share that is complete now; ``report.written`` is false if it was complete before."""

    @property
    def share(self) -> Share:
        """The share."""

    @property
    def report(self) -> Any:
        """What was done."""


DoneT = TypeVar("DoneT", bound=Done)


def extract_on_devices(
    request: ExtractionRequest,
    devices: Sequence[torch.device],
    *,
    progress: Callable[[str, int], Callable[[int], None]],
    say: Callable[[str], None],
) -> Iterator[Extracted | Failure]:
    """Extract with one process per device; see `running.extract` and `run_on_devices`."""
    yield from run_on_devices(request, devices, extract, progress=progress, say=say)


def run_on_devices(
    request: Request,
    devices: Sequence[torch.device],
    work: Callable[..., Iterator[DoneT | Failure]],
    *,
    progress: Callable[[str, int], Callable[[int], None]],
    say: Callable[[str], None],
) -> Iterator[DoneT | Failure]:
    """Work with one process per device.

    A process that dies stops no other: they take over its share, and `say` reports the death. A share has failed when
    every process has tried it or died.

    Parameters
    ----------
    request
        The request.
    devices
        The devices.
    work
        Function of a module: ``work(request, device, progress=..., say=...)`` goes through the shares, and waits for
        those that other processes have claimed.
    progress
        Function of a title and a number of shares that returns a callback for the number of shares just done.
    say
        Takes remarks.

    Yields
    ------
    Done or Failure
        One for each share, as they are done.
    """
    threads = max(1, torch.get_num_threads() // len(devices))
    advance = progress(plural(len(devices), "process"), len(request.shares))
    tally: _Tally[DoneT] = _Tally(request.shares, len(devices))
    processes: list[SpawnProcess] = []
    streams: dict[Connection, SpawnProcess] = {}
    try:
        for device in devices:
            process, link = start_process(_work, str(device), threads, request, work)
            processes.append(process)
            streams[link] = process
        while streams:
            for stream in wait(list(streams)):
                assert isinstance(stream, Connection)
                try:
                    message = stream.recv()
                except (EOFError, OSError):
                    process = streams.pop(stream)
                    stream.close()
                    process.join()
                    if process.exitcode:
                        say(f"the process on {process.name} ended early ({describe_exit(process.exitcode)})")
                    continue
                if isinstance(message, str):
                    say(message)
                elif isinstance(message, TedError):
                    raise message
                else:
                    for result in tally.add(*message):
                        advance(1)
                        yield result
        for result in tally.rest(processes):
            advance(1)
            yield result
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


class _Tally(Generic[DoneT]):
    """Combine the results of several processes, which all go through all shares, into one per share.

    A process finds a share complete if another wrote it or if it was complete before. A failure counts only once no
    other process can complete the share.
    """

    def __init__(self, shares: Sequence[Share], processes: int) -> None:
        self._shares = shares
        self._processes = processes
        self._settled: set[int] = set()
        self._found_complete: dict[int, DoneT] = {}
        self._failures: dict[int, list[Failure]] = {}

    def add(self, index: int, result: DoneT | Failure) -> Iterator[DoneT | Failure]:
        """Add a process's result for a share; yield it if it decides the share."""
        if index in self._settled:
            return
        if isinstance(result, Failure):
            failures = self._failures.setdefault(index, [])
            failures.append(result)
            if len(failures) < self._processes:
                return
        elif not result.report.written:
            self._found_complete.setdefault(index, result)
            return
        self._settled.add(index)
        yield result

    def rest(self, processes: Sequence[SpawnProcess]) -> Iterator[DoneT | Failure]:
        """Yield the undecided shares at the end: complete before, failed, or lost with their process."""
        ends = [f"{process.name}: {describe_exit(process.exitcode)}" for process in processes if process.exitcode]
        reason = f"the processes ended before it was done ({', '.join(ends) or 'no reason given'})"
        for index, share in enumerate(self._shares):
            if index in self._settled:
                continue
            if index in self._found_complete:
                yield self._found_complete[index]
            else:
                yield next(iter(self._failures.get(index, ())), Failure(share=share, reason=reason))


def _work(link: Connection, device: str, request: Request, work: Callable[..., Any]) -> None:
    """Send the results of a process's work."""
    indices = {id(share): index for index, share in enumerate(request.shares)}
    sending = threading.Lock()

    def send(message: Any) -> None:
        with sending:
            link.send(message)

    try:
        for result in work(request, torch.device(device), progress=lambda _title, _count: lambda _done: None, say=send):
            send((indices[id(result.share)], result))
    except TedError as error:  # wrong options or weights: the same for all processes
        kind = ConfigError if isinstance(error, ConfigError) else TedError  # others may not survive pickling
        send(kind(str(error), hint=error.hint))
    except BrokenPipeError:  # the parent has ended
        sys.exit(143)
