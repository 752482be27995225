"""Write files that survive a crash; read files with checks of type, size and nesting."""

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import CacheError

#: Ending of temporary files, ours and zarr's. A killed process leaves them behind.
PARTIAL_SUFFIX = ".partial"

#: Maximum size in bytes of a JSON file to read; a marker or journal of a million chunks is smaller.
_MOST_JSON = 1 << 28

#: Maximum nesting of JSON to read. Deeper values, which this package never writes, could overflow Python's stack.
_DEEPEST = 64

#: Error numbers of `read_regular` for a path without a usable file: a folder, loop of links, pipe, device, too large.
NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.ENXIO})

#: Error numbers of file systems without hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

#: Error numbers of file systems that cannot sync a folder, such as old CIFS.
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again, it resumes",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again, it resumes",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "not permitted: choose a folder that you may write to",
}


def canonical_json(value: Any) -> bytes:
    """Serialise to canonical JSON, from which digests are computed: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def open_regular(path: Path, most: int = _MOST_JSON) -> BinaryIO:
    """Open a regular file of at most `most` bytes for reading.

    A named pipe or a device would block, or never end. Raises OSError as `open`; with ``errno.EINVAL`` if it is not a
    regular file, and ``errno.EFBIG`` if it is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"has {found.st_size} bytes; at most {most} are expected", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int = _MOST_JSON) -> bytes:
    """Read a regular file of at most `most` bytes; see `open_regular`."""
    with open_regular(path, most) as file:
        return file.read()


def parse_json(text: bytes) -> Any:
    """Parse JSON; raise ValueError for invalid, or deeply nested, text."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    level = [value]
    for _ in range(_DEEPEST):
        items = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [value for values in items for value in values if isinstance(value, dict | list)]
        if not level:
            return value
    raise ValueError("nested too deeply")


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (names of files created or renamed in it) to the disk, where the file system can."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def write_atomic(path: Path, data: bytes, *, scratch: Path | None = None) -> None:
    """Replace a file atomically: readers, and a crash, see the old or the new content, never a part.

    Write a temporary file, sync it, rename it, and sync the folder. The temporary file is in `scratch`, a folder on the
    same file system, or by default in the folder of `path`.
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
    """Create a file exclusively; it appears with its whole content, even after a kill or on a full disk.

    The content is not synced. On file systems without hard links, the file is created empty and then filled. Raises
    FileExistsError when it exists.
    """
    temporary = _temporary(path, path.parent)
    try:
        with temporary.open("xb") as file:
            file.write(data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            if temporary.stat().st_nlink < 2:  # otherwise NFS made the link, lost its answer and repeated the request
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
    """Turn an OSError into a `CacheError` that says what failed and what to do.

    `action`, the action of the block, completes "cannot ...": ``"write /data/cache/..."``.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, str(error))  # `str(error)` names the file
        raise CacheError(f"cannot {action}: {advice}") from error
