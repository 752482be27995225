"""The heartbeat of a process: one thread that renews all its claims, also during long batches."""

import contextlib
import os
import threading
from typing import Protocol

#: Seconds between two renewals of a claim.
HEARTBEAT_S = 20.0


class Renewable(Protocol):
    """An object that a heartbeat renews."""

    def renew(self) -> bool:
        """Renew it; return False when there is nothing left to renew."""


class Heartbeat:
    """Renews its items every `HEARTBEAT_S` seconds in one thread, which ends when there are no items.

    The thread is a daemon, so it does not keep the process running. A forked child starts without items, since it holds
    none of its parent's claims.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop all items and the thread; for a forked child, in which only the forking thread continues."""
        self._changed = threading.Condition()
        self._held: dict[int, Renewable] = {}
        self._thread: threading.Thread | None = None

    def add(self, item: Renewable) -> None:
        """Begin to renew an item."""
        with self._changed:
            self._held[id(item)] = item
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ted-heartbeat", daemon=True)
                thread.start()
                self._thread = thread

    def remove(self, item: Renewable) -> None:
        """Stop renewing an item, if it is renewed."""
        with self._changed:
            self._held.pop(id(item), None)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: not self._held, timeout=HEARTBEAT_S):
                    self._thread = None
                    return
                items = list(self._held.values())
            for item in items:
                with contextlib.suppress(OSError):  # file system temporarily unavailable: retry at the next beat
                    if not item.renew():
                        self.remove(item)


#: This process's heartbeat.
HEARTBEAT = Heartbeat()

os.register_at_fork(after_in_child=HEARTBEAT.forget)
