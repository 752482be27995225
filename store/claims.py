"""Claims: lock files that name the process that writes a unit. A claim left by a crash does not block the next one."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from .artifacts.registry import layout_at
from .durable import NO_FILE, PARTIAL_SUFFIX, create_whole, open_regular, parse_json, write_atomic
from .errors import ClaimedError
from .heartbeat import HEARTBEAT
from .owners import SINCE_HEARTBEATS, is_local, is_running, this_process

#: Seconds without renewal after which a claim of another host is stale: 15 heartbeats. NFS clients may show file times
#: that are a minute old (`acregmax`), and a restarted server accepts no writes for a minute and a half.
STALE_AFTER_S = 300.0

#: The same for claims of earlier versions, which were renewed with each batch only.
_STALE_WITHOUT_HEARTBEAT_S = 3600.0

#: The same for an unreadable claim: it is being written, or a crash truncated it (with an earlier version, without hard
#: links, or by a loss of power).
_TORN_AFTER_S = 10.0

#: The right to replace a claim is held for milliseconds; an older file was left by a crash.
_RIGHT_STALE_AFTER_S = 60.0

_NAME = "claim.json"
_LARGEST = 1 << 16  # bytes
_ATTEMPTS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """A claim held by this process, renewed in the background until it is released; a context manager.

    All methods may be called from any thread.
    """

    path: Path  # the claim file
    content: bytes  # content of the file while the claim is ours; unique to this claim
    pid: int  # process that holds the claim; its forks do not hold it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise ClaimedError if another process has taken the claim, or has removed the unit.

        Every call reads one small file, since a process cannot tell from its clock that it was suspended. That takes
        about 20 microseconds, or one round trip on a network file system.
        """
        try:
            there = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            there = b""
        if there != self.content:
            owner = _parse(there) or {}
            by = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}" if owner else "another process"
            raise _claimed(f"{by} took over {self.path.parents[2]}; this one stops writing it", owner)

    def renew(self) -> bool:
        """Renew the claim if it is still ours; return whether it is."""
        try:
            with self.path.open("rb") as file:
                ours = file.read() == self.content
                if ours:
                    os.utime(file.fileno())  # the file that was read, not a claim that has replaced it
        except (FileNotFoundError, NotADirectoryError):
            return False
        return ours

    def release(self) -> None:
        """Release the claim, unless it is no longer ours or was removed with its folder."""
        HEARTBEAT.remove(self)
        if os.getpid() != self.pid:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if self.path.read_bytes() != self.content:
                return
            with _right_to_replace(self.path, self.content) as granted:
                if granted and self.path.read_bytes() == self.content:
                    self.path.unlink()


def take_claim(unit: Path) -> Claim:
    """Claim a unit for this process.

    A stale claim is taken over: on this host, one whose process is dead; on another host or in another container, one
    that was not renewed for `STALE_AFTER_S` by the file system's clock. Only one process can take it over, since it
    first creates a file that grants the exclusive right to replace this claim. Raises ClaimedError when another process
    holds it.
    """
    path = unit / layout_at(unit).records / _NAME
    content = json.dumps({"token": uuid.uuid4().hex, **this_process()}).encode()
    for _ in range(_ATTEMPTS):
        _unlink_link(path)
        with contextlib.suppress(FileNotFoundError):  # just released, or removed with its folder: try again
            if _create(path, content) or _take_over(unit, path, content):
                claim = Claim(path=path, content=content, pid=os.getpid())
                HEARTBEAT.add(claim)
                return claim
    raise ClaimedError(f"{unit} is claimed and released by other processes all the time; run the same command again")


def is_claimed(unit: Path) -> bool:
    """Tell whether a process that seems to be alive holds a unit's claim."""
    path = unit / layout_at(unit).records / _NAME
    try:
        return not _is_stale(path, _look(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _create(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        create_whole(path, content)
    except FileExistsError:
        return False
    return True


def _take_over(unit: Path, path: Path, content: bytes) -> bool:
    """Replace a stale claim; return False when it changed meanwhile; raise ClaimedError when it is not stale."""
    found = _look(path)
    owner = _parse(found.content) or {}
    if not _is_stale(path, found):
        raise _claimed(
            f"{unit} is being written by process {owner.get('pid', '?')} on {owner.get('host', '?')}; wait for it, "
            f"or, if that process is gone, delete {path}",
            owner,
        )
    with _right_to_replace(path, found.content) as granted:
        if not granted:
            raise ClaimedError(f"{unit} is being taken over by another process at this moment; wait for it")
        # Check again: the claim may have been renewed, released, or taken over by others meanwhile.
        again = _look(path)
        if again.content != found.content or not _is_stale(path, again):
            return False
        write_atomic(path, content)
    return True


@contextlib.contextmanager
def _right_to_replace(path: Path, content: bytes) -> Iterator[bool]:
    """Hold the right to replace or delete the claim with this content; yield False if another process has the right.

    The right is an exclusively created file whose name contains a digest of the content. A file left by a crash is
    never reused, since two processes could do so at once; the next number is tried instead. The holder of a claim
    creates the file as a hard link to the claim, which needs no free inode, so it can release its claim on a full disk.
    """
    digest = hashlib.sha256(content).hexdigest()[:16]
    ours = (_parse(content) or {}).items() >= this_process().items()
    rights: list[Path] = []
    granted = False
    while not granted:
        right = path.with_name(f".{_NAME}.{digest}.{len(rights)}{PARTIAL_SUFFIX}")
        _unlink_link(right)
        try:
            if ours:
                _link_right(path, right)
            else:
                _create_right(right)
            granted = True
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):  # just released: try again
                found = _look(right)
                owner = _parse(found.content) or {}
                crashed = is_local(owner) and not is_running(owner)
                if not crashed and _age(path.parent, found.modified) <= _RIGHT_STALE_AFTER_S:
                    break
                rights.append(right)
        else:
            rights.append(right)
    try:
        yield granted
    finally:
        for right in rights if granted else ():
            right.unlink(missing_ok=True)


def _create_right(path: Path) -> None:
    try:
        create_whole(path, json.dumps(this_process()).encode())
    except FileExistsError:
        raise
    except OSError:  # a full disk: an empty file is judged by its age
        path.open("xb").close()


def _link_right(claim: Path, right: Path) -> None:
    try:
        os.link(claim, right)
    except FileExistsError:
        if not right.samefile(claim):  # otherwise NFS made the link, lost its answer and repeated the request
            raise
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        _create_right(right)


def _unlink_link(path: Path) -> None:
    """Delete a symbolic link at a claim's path: claims are files, and a dangling link would block all writers."""
    if path.is_symlink():
        path.unlink(missing_ok=True)


class _Found(NamedTuple):
    content: bytes
    modified: float


def _look(path: Path) -> _Found:
    try:
        # Opening makes NFS clients ask the server; fstat gives the time of the same file that was read.
        with open_regular(path, _LARGEST) as file:
            return _Found(file.read(), os.fstat(file.fileno()).st_mtime)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return _Found(b"", path.lstat().st_mtime)  # a pipe or a device counts as torn


def _parse(content: bytes) -> dict[str, Any] | None:
    try:
        owner = parse_json(content)
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None


def _is_stale(path: Path, found: _Found) -> bool:
    owner = _parse(found.content)
    if owner is None:
        return _age(path.parent, found.modified) > _TORN_AFTER_S
    if is_local(owner):
        return not is_running(owner)
    limit = STALE_AFTER_S if SINCE_HEARTBEATS in owner else _STALE_WITHOUT_HEARTBEAT_S
    return _age(path.parent, found.modified) > limit


def _age(folder: Path, modified: float) -> float:
    """Return the age in seconds of a modification time, by the clock of the folder's file system.

    Clocks of hosts may disagree. A future time comes from a copied file: return the absolute difference.
    """
    probe = folder / f".clock.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"
    try:
        with probe.open("xb") as file:
            now = os.fstat(file.fileno()).st_mtime
    finally:
        probe.unlink(missing_ok=True)
    return abs(now - modified)


def _claimed(message: str, owner: dict[str, Any]) -> ClaimedError:
    host, pid = owner.get("host"), owner.get("pid")
    return ClaimedError(
        message, host=host if isinstance(host, str) else None, pid=pid if isinstance(pid, int) else None
    )
