"""Folders of results: each appears whole, with a record of its inputs, its settings and its files."""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ...store import safe_name
from ...store.durable import sync_file, sync_folder
from ...store.errors import ConfigError, LabelError
from ..datasets.video import Video

#: Name of the record in a folder of results.
RECORD = "ted.json"

#: Key of the record that holds sizes and hashes of the result's files.
_FILES = "files"

_UNREADABLE = (OSError, ValueError, SyntaxError, RecursionError, Image.DecompressionBombError)

# Errors of renaming a folder to a name that another one has.
_NAME_IS_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)

_log = logging.getLogger(__name__)


def result_folder(out: Path, video: Video) -> Path:
    """Return the folder of a video's results in a folder of results."""
    return out / video.result_parent / safe_name(video.name)


def has_same_result(
    folder: Path, record: Mapping[str, Any], *, overwrite: bool, expected: Collection[str] = ()
) -> bool:
    """Return True if a folder holds an undamaged result with this record, False if the result must be made.

    A result without a readable record was interrupted, and a result with changed files is damaged: both are made again,
    with a warning. `record` is everything that the result depends on, JSON-compatible. `expected` are names of files
    that the result must hold; a record of an earlier version does not list them. Raises ConfigError when the folder
    holds a result with another record, or no result at all.
    """
    if not folder.exists():
        with _locked(folder.parent):
            _restore(folder)
    if folder.exists() and not _is_result(folder):
        raise ConfigError(
            f"{folder} is in the way: it is not a result of `ted propagate`. Give another --out, or move that folder"
        )
    if overwrite or not folder.exists():
        return False
    found = read_record(folder)
    if found is None:
        _log.warning("%s: its record %s cannot be read: the result is made again", folder, RECORD)
        return False
    if {key: value for key, value in found.items() if key != _FILES} != record:
        raise ConfigError(
            f"{folder} holds a result of other settings or features: give another --out, or --overwrite to replace it"
        )
    if changed := changed_files(folder, expected=expected):
        _log.warning("%s: files are missing or damaged (%s): the result is made again", folder, _some(changed))
        return False
    return True


def changed_files(folder: Path, *, expected: Collection[str] = ()) -> list[str]:
    """Return the names of a result's files that are missing or that differ from its record.

    Records of earlier versions have no hashes. Then the list holds the files that are empty or cannot be decoded. A
    folder without a record was not written by this project, and the list is empty.
    """
    listed = (read_record(folder) or {}).get(_FILES)
    if isinstance(listed, dict):
        changed = [name for name, entry in listed.items() if _describe_file(folder / name) != entry]
        return sorted({*changed, *(name for name in expected if name not in listed)})
    if not (folder / RECORD).exists():
        return []
    there = [path for path in folder.iterdir() if path.suffix in (".png", ".npz")]
    damaged = [path.name for path in there if not _can_be_decoded(path)]
    return sorted({*damaged, *(name for name in expected if not (folder / name).is_file())})


def check_result(folder: Path) -> None:
    """Raise LabelError if files of a result are missing or differ from its record."""
    if changed := changed_files(folder):
        raise LabelError(
            f"{folder}: files differ from the result's record {RECORD} ({_some(changed)}): propagate the video again, "
            f"or delete {folder / RECORD} if the files were changed on purpose"
        )


@contextmanager
def atomic_folder(folder: Path, record: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a hidden folder, which takes the final name when the block succeeds and is removed when it fails.

    The record, with sizes and hashes of all files, is added last. All files are on the disk before the folder gets its
    name. An existing result is exchanged in one step if the system can do that. Hidden folders of dead processes are
    removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    with _hidden_folder(folder) as hidden:
        yield hidden
        names = sorted(path.relative_to(hidden).as_posix() for path in hidden.rglob("*") if path.is_file())
        files = {name: _describe_file(hidden / name) for name in names}
        (hidden / RECORD).write_text(json.dumps({**record, _FILES: files}, indent=1) + "\n")
        for name in (RECORD, *names):
            sync_file(hidden / name)
        for path in (*(path for path in hidden.rglob("*") if path.is_dir()), hidden):
            sync_folder(path)
        _put(hidden, folder)
        sync_folder(folder.parent)


def start_frames(folder: Path) -> tuple[int, ...]:
    """Return the indices of the frames whose masks a result started from; empty if its record does not say."""
    record = read_record(folder) or {}
    given = record.get("given_masks")
    if isinstance(given, dict):
        return tuple(int(frame) for frame in given if str(frame).isdecimal())
    return (0,) if "first_mask" in record else ()


def _is_result(folder: Path) -> bool:
    return folder.is_dir() and ((folder / RECORD).is_file() or not any(folder.iterdir()))


def read_record(folder: Path, name: str = RECORD) -> dict[str, Any] | None:
    """Return the record of a folder of results; None if there is none that can be read."""
    try:
        record = json.loads((folder / name).read_bytes())
    except _UNREADABLE:
        return None
    return record if isinstance(record, dict) else None


def _describe_file(path: Path) -> dict[str, Any] | None:
    """Return a file's size and hash as the record holds them; None if it cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError:
        return None


def _can_be_decoded(path: Path) -> bool:
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        else:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                return archive.testzip() is None
    except Exception:  # Pillow, zipfile and zlib raise many kinds of errors
        return False
    return True


# Hidden folders: `.NAME.<12 hexadecimal digits>.partial` is being written or removed, `.old` is being replaced.


@contextmanager
def _hidden_folder(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder, locked for as long as this process lives; it is removed at the end."""
    hidden, lock = _make_locked(folder)
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        os.close(lock)


def _make_locked(folder: Path) -> tuple[Path, int]:
    while True:
        hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
        hidden.mkdir()
        with contextlib.suppress(FileNotFoundError):  # removed as a leftover before it was locked: make another
            lock = os.open(hidden, os.O_RDONLY)
            with contextlib.suppress(OSError):  # some network file systems know no locks: nothing is removed there
                fcntl.flock(lock, fcntl.LOCK_SH)
            if hidden.exists():
                return hidden, lock
            os.close(lock)


def _leftovers(folder: Path, suffix: str) -> list[Path]:
    pattern = re.compile(re.escape(f".{folder.name}.") + r"[0-9a-f]{12}" + re.escape(suffix))
    return sorted(path for path in folder.parent.iterdir() if pattern.fullmatch(path.name))


def _remove_leftovers(folder: Path) -> None:
    """Remove hidden folders of a result that no living process has locked, and results that were replaced."""
    with _locked(folder.parent):
        _restore(folder)
        for path in _leftovers(folder, ".old"):
            shutil.rmtree(path, ignore_errors=True)
    for path in _leftovers(folder, ".partial"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _put(hidden: Path, folder: Path) -> None:
    """Give a hidden folder its final name; a folder of that name gets the hidden name, or is removed."""
    try:
        hidden.rename(folder)
    except OSError as error:
        if error.errno not in _NAME_IS_TAKEN:
            raise
        if not _exchange(hidden, folder):
            _replace_in_two_steps(hidden, folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; return False if the system cannot do that."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), os.fspath(other))


def _replace_in_two_steps(hidden: Path, folder: Path) -> None:
    """Replace a folder by two renames; `_restore` brings back the old one after a crash between them."""
    with _locked(folder.parent):
        _restore(folder)
        while True:
            old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.old")
            with contextlib.suppress(FileNotFoundError):
                folder.rename(old)
            taken = False
            try:
                hidden.rename(folder)
            except OSError as error:
                # Another process took the name between the two renames: its result is replaced, too.
                taken = error.errno in _NAME_IS_TAKEN
                if not taken:
                    raise
            shutil.rmtree(old, ignore_errors=True)
            if not taken:
                return


def _restore(folder: Path) -> None:
    """Bring back the result that a process had moved aside when it died."""
    if folder.parent.is_dir() and not folder.exists():
        for path in _leftovers(folder, ".old")[:1]:
            try:
                path.rename(folder)
            except OSError as error:
                if error.errno not in _NAME_IS_TAKEN:  # by a new result, meanwhile
                    raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time replace results in a folder; does nothing without the folder or without locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _some(names: Collection[str], limit: int = 3) -> str:
    more = len(names) - limit
    return ", ".join(list(names)[:limit]) + (f" and {more} more" if more > 0 else "")
