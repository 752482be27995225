"""One process for each device of this machine, all with the same list: whoever is free takes what nobody is at."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

import torch

from ...store.errors import ConfigError, TedError
from .request import ExtractionRequest
from .running import Extracted, Failure, extract

__all__ = ["extract_on_devices", "parse_devices"]


def parse_devices(text: str) -> list[str]:
    """Read a list such as ``0,1,2`` (CUDA devices), ``cuda:0,cuda:1`` or ``cpu,cpu``.

    Raises
    ------
    ConfigError
        For an empty list, and for a CUDA device that is named twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    devices = [f"cuda:{name}" if name.isdecimal() else name for name in names]
    if not devices:
        raise ConfigError("--devices names no device; such as 0,1,2,3")
    twice = next((name for name in devices if name != "cpu" and devices.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--devices names {twice} twice: two processes would compete for its memory")
    return devices


def extract_on_devices(
    request: ExtractionRequest,
    devices: Sequence[torch.device],
    *,
    progress: Callable[[str, int], Callable[[int], None]],
    say: Callable[[str], None],
) -> Iterator[Extracted | Failure]:
    """Extract with a process for each device; see `running.extract`.

    A process that dies stops no other: what it was at is taken over. Its death is a failure all the same, since it has
    a reason; so is what no process was left to do.

    Yields
    ------
    Extracted or Failure
        One for each share, as they are done.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    messages: Any = context.Queue()
    threads = max(1, torch.get_num_threads() // len(devices))
    processes = [
        context.Process(target=_run, args=(request, str(device), threads, messages), name=str(device), daemon=True)
        for device in devices
    ]
    advance = progress(f"{len(devices)} processes", len(request.shares))
    tally = _Tally(request)
    try:
        for process in processes:
            process.start()
        while True:
            running = [process for process in processes if process.is_alive()]
            yield from _take(messages, tally, advance, say)
            if not running:
                break
            wait([process.sentinel for process in running], timeout=0.2)
        yield from _take(messages, tally, advance, say)
        yield from tally.rest([process for process in processes if process.exitcode])
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()


def _take(
    messages: Any, tally: "_Tally", advance: Callable[[int], None], say: Callable[[str], None]
) -> Iterator[Extracted | Failure]:
    """Take what the processes have sent."""
    while True:
        try:
            message = messages.get_nowait()
        except queue.Empty:
            return
        if isinstance(message, str):
            say(message)
        elif isinstance(message, TedError):
            raise message
        else:
            for result in tally.add(*message):
                advance(1)
                yield result


class _Tally:
    """Makes one result for each share out of those of several processes.

    All processes go through all shares. That one finds a share complete means that another has written it, or that it
    was complete before; that one fails at it, that the others have failed or will.
    """

    def __init__(self, request: ExtractionRequest) -> None:
        self._request = request
        self._settled: set[int] = set()
        self._found_complete: dict[int, Extracted] = {}

    def add(self, index: int, result: Extracted | Failure) -> Iterator[Extracted | Failure]:
        """Take a process's result for a share; yield it if it is the one that counts."""
        if index in self._settled:
            return
        if isinstance(result, Extracted) and not result.report.written:
            self._found_complete.setdefault(index, result)
            return
        self._settled.add(index)
        yield result

    def rest(self, dead: Sequence[Any]) -> Iterator[Extracted | Failure]:
        """Yield what remains at the end: what was complete before, and what has died with its process."""
        for index, share in enumerate(self._request.shares):
            if index in self._settled:
                continue
            if index in self._found_complete:
                yield self._found_complete[index]
            else:
                codes = ", ".join(f"{process.name}: {_describe_exit(process.exitcode)}" for process in dead)
                yield Failure(
                    share=share, reason=f"the processes ended before it was done ({codes or 'no reason given'})"
                )


def _describe_exit(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _run(request: ExtractionRequest, device: str, threads: int, messages: Any) -> None:
    """Extract in a process of its own."""
    # Batch systems, and the parent, end a process by SIGTERM: leave through the `with` blocks, which give up claims.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _end_with_parent()
    torch.set_num_threads(threads)
    places = {id(share): index for index, share in enumerate(request.shares)}
    try:
        for result in extract(
            request, torch.device(device), progress=lambda _title, _frames: lambda _done: None, say=messages.put
        ):
            messages.put((places[id(result.share)], result))
    except TedError as error:  # a wrong option: for all processes the same
        messages.put(ConfigError(str(error)) if isinstance(error, ConfigError) else TedError(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """End this process when the one that started it has gone without a word: nobody would learn what it does."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
