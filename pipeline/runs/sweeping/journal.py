"""The journal of a sweep: each score is written to disk at once, so that an interrupted sweep can resume."""

import errno
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from ....store.durable import canonical_json, explain_os_errors, sync_folder
from ....store.errors import ClaimedError, ConfigError
from ...tasks.base import Score
from ...tasks.registry import read_score

#: Name of the file in the folder of a sweep.
JOURNAL = "journal.jsonl"

_CHECK = "check"

_log = logging.getLogger(__name__)


class Journal:
    """Scores by key, in memory and on the disk.

    A line is a JSON object ``{"check": SUM, "scores": {KEY: SCORE, ...}}`` for a group of settings, or ``{"check": SUM,
    "affinities": FOLDER}`` for affinities that the sweep has written. SUM is the beginning of the SHA-256 of the rest.
    Lines of earlier versions have no checksum. Scores may be of any task (`read_score`).

    Attributes
    ----------
    scores
        The score of a video under one setting, by a key that identifies everything it depends on.
    affinities
        Folders of affinities that were written for this sweep, relative to the cache.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        file.seek(0)
        content = file.read()
        self.scores, self.affinities, damaged = _parse(content)
        if damaged:
            _log.warning(
                "%s: dropped damaged lines (%s): their scores are computed again",
                file.name,
                ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else ""),
            )
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # cut by a crash: the next record must begin on a new line
            file.truncate(whole)

    def add_scores(self, scores: Mapping[str, Score]) -> None:
        """Add scores; they are on the disk on return."""
        self._append({"scores": {key: score.to_json() for key, score in scores.items()}})
        self.scores.update(scores)

    def add_affinities(self, folder: str) -> None:
        """Record that affinities were written for this sweep."""
        if folder not in self.affinities:
            self._append({"affinities": folder})
            self.affinities.add(folder)

    def _append(self, record: dict[str, Any]) -> None:
        line = canonical_json({**record, _CHECK: _checksum(record)}) + b"\n"
        with explain_os_errors(f"write {self._file.name}"):
            end = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError:  # leave no half line in front of the next one
                self._file.truncate(end)
                raise


def read_journal(folder: Path) -> Set[str]:
    """Return the keys of the scores in the folder of a sweep; an empty set where there is no journal."""
    path = folder / JOURNAL
    if not path.is_file():
        return frozenset()
    with explain_os_errors(f"read {path}"), path.open("rb", buffering=0) as file:
        return _parse(file.read())[0].keys()


@contextmanager
def open_journal(folder: Path, *, overwrite: bool = False) -> Iterator[Journal]:
    """Open and lock the journal in the folder of a sweep, which is made if absent; `overwrite` empties it.

    Raises
    ------
    ConfigError
        When the folder holds other files and no sweep.
    ClaimedError
        When another process is sweeping into the folder.
    CacheError
        When the operating system refuses.
    """
    path = folder / JOURNAL
    if folder.exists() and not (folder.is_dir() and (path.is_file() or not any(folder.iterdir()))):
        raise ConfigError(
            f"{folder} is in the way: it is not a folder of `ted sweep`. Give another --out, or move that folder"
        )
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
    """Lock a file for as long as it is open; the system releases the lock when the process dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ClaimedError(f"another process is sweeping into {folder}; wait for it, or give another --out") from None
    except OSError as error:  # some network file systems have no locks
        _log.warning("%s cannot be locked (%s): let no other process sweep into it", folder, error.strerror)


def _parse(content: bytes) -> tuple[dict[str, Score], set[str], list[int]]:
    """Return the scores and affinities of a journal's whole lines, and the numbers of the damaged lines."""
    scores: dict[str, Score] = {}
    affinities: set[str] = set()
    damaged: list[int] = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
            check = record.pop(_CHECK, None)
            (kind,) = record
            if check not in (None, _checksum(record)) or kind not in ("scores", "affinities"):
                raise ValueError("damaged")
            found = {key: read_score(value) for key, value in record.get("scores", {}).items()}
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            damaged.append(number)
        else:
            scores |= found
            affinities |= {record[kind]} if kind == "affinities" else set()
    return scores, affinities, damaged


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record)).hexdigest()[:16]
