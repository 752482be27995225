"""Files that survive a crash: written whole or not at all, and on the disk before the next step relies on them."""

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import CacheError

__all__ = [
    "PARTIAL_SUFFIX",
    "canonical_json",
    "create_whole",
    "explain_os_errors",
    "sync_file",
    "sync_folder",
    "write_atomic",
]

#: Ending of temporary files, ours and zarr's; what a killed process leaves behind has it.
PARTIAL_SUFFIX = ".partial"

#: What file systems without hard links say to a link.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again, it resumes",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again, it resumes",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "not permitted: choose a folder that you may write to",
}


def canonical_json(value: Any) -> bytes:
    """Serialise to JSON in the one form that digests are computed of: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (names of files created or renamed in it) to the disk."""
    sync_file(path)


def write_atomic(path: Path, data: bytes, *, scratch: Path | None = None) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Temporary file, fsync, rename, fsync of the folder.

    Parameters
    ----------
    path
        The file.
    data
        Its content.
    scratch
        Folder for the temporary file, on the same file system; the file's own by default.
    """
    temporary = _temporary(path, scratch or path.parent)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_whole(path: Path, data: bytes) -> None:
    """Create a file, exclusively, that nobody ever sees without its content: not after a kill, nor on a full disk.

    It is not forced to the disk. Where the file system has no hard links, it is created first and filled then.

    Raises
    ------
    FileExistsError
        When the file is there.
    """
    temporary = _temporary(path, path.parent)
    try:
        with temporary.open("xb") as file:
            file.write(data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            if temporary.stat().st_nlink < 2:  # else NFS made the link, lost its answer, and was asked again
                raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _create_and_fill(path, data)
    finally:
        temporary.unlink(missing_ok=True)


def _create_and_fill(path: Path, data: bytes) -> None:
    file = path.open("xb")
    try:
        with file:
            file.write(data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _temporary(path: Path, folder: Path) -> Path:
    return folder / f".{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"


@contextlib.contextmanager
def explain_os_errors(action: str) -> Iterator[None]:
    """Turn the operating system's errors into a `CacheError` that says what was being done and what to do.

    Parameters
    ----------
    action
        What the block does, to follow "cannot": ``"write /data/cache/..."``.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, str(error))  # which names the file in the way
        raise CacheError(f"cannot {action}: {advice}") from error
