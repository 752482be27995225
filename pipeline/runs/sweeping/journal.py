"""The journal of a sweep: scores are on the disk once they are known, so that an interrupted sweep goes on."""

import errno
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from ....store.durable import canonical_json, explain_os_errors, sync_folder
from ....store.errors import ClaimedError, ConfigError
from ...tasks.base import Score
from ...tasks.registry import read_score

__all__ = ["JOURNAL", "Journal", "open_journal", "read_journal"]

#: Name of the file in the folder of a sweep.
JOURNAL = "journal.jsonl"

_log = logging.getLogger(__name__)


class Journal:
    """Scores by key, in memory and on the disk.

    A line is a JSON object: ``{"scores": {KEY: SCORE, ...}}`` for a group of settings, or ``{"affinities": FOLDER}``
    for affinities that the sweep has written. Scores are of any kind (`read_score`).

    Attributes
    ----------
    scores
        The score of a video under one setting, by a key that names all that it depends on.
    affinities
        Folders of affinities that were written for this sweep, relative to the cache.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        file.seek(0)
        content = file.read()
        self.scores, self.affinities = _parse(content)
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # torn by a crash: what is appended must begin on a line of its own
            file.truncate(whole)

    def add_scores(self, scores: Mapping[str, Score]) -> None:
        """Enter scores; they are on the disk on return."""
        self._append({"scores": {key: score.to_json() for key, score in scores.items()}})
        self.scores.update(scores)

    def add_affinities(self, folder: str) -> None:
        """Enter that affinities were written for this sweep."""
        if folder not in self.affinities:
            self._append({"affinities": folder})
            self.affinities.add(folder)

    def _append(self, record: dict[str, Any]) -> None:
        line = canonical_json(record) + b"\n"
        with explain_os_errors(f"write {self._file.name}"):
            end = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError:  # leave no half line for what may be appended next
                self._file.truncate(end)
                raise


def read_journal(folder: Path) -> Set[str]:
    """Return the keys of the scores that the folder of a sweep holds, without touching it; none if there is none."""
    path = folder / JOURNAL
    if not path.is_file():
        return frozenset()
    with explain_os_errors(f"read {path}"), path.open("rb", buffering=0) as file:
        return _parse(file.read())[0].keys()


@contextmanager
def open_journal(folder: Path, *, overwrite: bool = False) -> Iterator[Journal]:
    """Open the journal in the folder of a sweep, which is made if absent, and hold it alone.

    Parameters
    ----------
    folder
        The folder.
    overwrite
        Forget what the journal holds.

    Raises
    ------
    ConfigError
        When the folder holds other things, and no sweep.
    ClaimedError
        When another process is sweeping into it.
    CacheError
        When the operating system refuses.
    """
    path = folder / JOURNAL
    if folder.exists() and not (folder.is_dir() and (path.is_file() or not any(folder.iterdir()))):
        raise ConfigError(f"{folder} is in the way, and no folder of `ted sweep`: give another --out, or move it")
    with explain_os_errors(f"write {path}"):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)  # unbuffered: a line is written whole, or not
        sync_folder(folder)
    with file:
        _lock(file, folder)
        if overwrite:
            file.truncate(0)
        yield Journal(file)


def _lock(file: FileIO, folder: Path) -> None:
    """Lock a file for as long as it is open; the system gives the lock up when the process dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ClaimedError(f"another process is sweeping into {folder}; wait for it, or give another --out") from None
    except OSError as error:  # some network file systems know no locks
        _log.warning("%s cannot be locked (%s): let no other process sweep into it", folder, error.strerror)


def _parse(content: bytes) -> tuple[dict[str, Score], set[str]]:
    """Return the scores and the affinities of a journal's whole lines; what is unreadable is computed again."""
    scores: dict[str, Score] = {}
    affinities: set[str] = set()
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        with suppress(ValueError, TypeError, LookupError, AttributeError):
            record = json.loads(line)
            for key, value in record.get("scores", {}).items():
                scores[key] = read_score(value)
            affinities |= {record["affinities"]} if "affinities" in record else set()
    return scores, affinities
