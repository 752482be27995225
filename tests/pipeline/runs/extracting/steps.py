"""What a process does to a cache on the disk, step by step; and what happens to it at one of the steps."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["PHASES", "At", "fill_disk", "phase_of", "signal_self"]

#: The phases of a unit's making, in their order.
PHASES = (
    "claim",
    "groups",
    "array",
    "chunks",
    "journal",
    "run record",
    "marker",
    "journal removed",
    "release",
)


def phase_of(event: str, arguments: tuple[Any, ...], cache: str) -> str | None:
    """Tell of an audit event to which phase it belongs; None for what changes nothing in the cache."""
    if event == "open":
        path, _, flags = arguments
        if not flags & (os.O_WRONLY | os.O_RDWR):
            return None
    elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        path = arguments[1 if event == "os.rename" else 0]
    else:
        return None
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    place = os.fsdecode(path)
    if not place.startswith(cache):
        return None
    name, removed = place.rpartition("/")[2], event == "os.remove"
    if removed and not os.path.exists(place):  # noqa: PTH110  # Path makes events, too
        return None
    if "claim.json" in name:
        return "release" if removed or name.startswith(".") else "claim"
    if "journal.jsonl" in name:
        return "journal removed" if removed else "journal"
    for part, phase in (("run.json", "run record"), ("complete.json", "marker")):
        if part in name:
            return phase
    if "/features/c" in place:
        return "chunks"
    if "/features/" in place and not place.endswith("/ted"):
        return "array"
    return "groups" if "zarr.json" in name else "claim"


@dataclass(frozen=True, kw_only=True)
class At:
    """Hook: write down the phases that steps belong to, and have something happen at one of them.

    Attributes
    ----------
    cache
        Of what the steps count.
    log
        Gets a line for each step, before it is done.
    phase, number
        It happens before the step with this number, from 1, of this phase; empty: never.
    delay
        Seconds after that step has begun at which it happens, instead.
    act
        What happens; the process is killed, unless told otherwise.
    """

    cache: Path
    log: Path
    phase: str = ""
    number: int = 1
    delay: float = 0
    act: Callable[[], None] | None = None

    def __call__(self) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        act = self.act or partial(signal_self, signal.SIGKILL)
        left, counting = [self.number], threading.Lock()

        def later() -> None:
            time.sleep(self.delay)
            act()

        def step(event: str, arguments: tuple[Any, ...]) -> None:
            phase = phase_of(event, arguments, f"{self.cache}/")
            if phase is None:
                return
            with counting:
                os.write(log, f"{phase}\n".encode())
                left[0] -= phase == self.phase
                now = phase == self.phase and left[0] == 0
            if now and self.delay:
                threading.Thread(target=later, daemon=True).start()
            elif now:
                act()

        sys.addaudithook(step)


def signal_self(number: int) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


def fill_disk(ballast: Path) -> None:
    """Write a file until nothing more fits beside it."""
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
