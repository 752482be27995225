"""Read locks, which keep other processes from discarding affinities that this process reads."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self


class ReadLock:
    """A shared lock on a video's folder in the cache, held until it is closed; a context manager.

    A process that discards affinities of the video checks first that it is the only holder (`alone`). The lock is
    advisory and ends with its process. If the file system has no locks, or the folder is absent, nothing is locked and
    `alone` yields True.

    Parameters
    ----------
    folder
        The video's folder (`ted.store.layout.video_folder`).
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; may be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether this is the only holder; if so, other processes wait for the lock during the block."""
        if self._descriptor is None:
            yield True
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        except OSError:
            alone = True
        try:
            yield alone
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
