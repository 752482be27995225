"""Bringing complete units from one cache into another: verified on the way, whole or not at all."""

import contextlib
import errno
import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .arrays import make_groups
from .claims import take_claim
from .durable import explain_os_errors, sync_file, sync_folder
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError
from .integrity import looks_whole, open_unit
from .marker import FileRecord, read_marker, write_marker
from .removal import remove_empty_group, set_aside
from .stored import StoredUnit, read_spec

__all__ = ["Transfer", "copy_unit", "plan_transfer"]

#: Ending of the temporary folders that units are copied into.
_COPYING = ".copying"

#: Bytes in memory at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What becomes, or became, of one unit.

    Attributes
    ----------
    source
        Its folder.
    label
        Its name for messages; the folder where its description cannot be read.
    state
        ``"wanted"`` (to be copied), ``"copied"``, ``"present"`` (equal content is there), ``"kept"`` (there is another
        content of the same request, which stays), ``"incomplete"``, ``"damaged"`` (the source) or ``"failed"``.
    target
        Its place at the destination, by its description; None where that cannot be read.
    bytes
        Of the files that its marker promises.
    content_hash
        Of its content, as its marker gives it.
    problem
        Why it was not copied, where something is wrong.
    """

    source: Path
    label: str
    state: str
    target: Path | None = None
    bytes: int = 0
    content_hash: str = ""
    problem: CacheError | None = None


def plan_transfer(source: Path, root: Path) -> Transfer:
    """Say what `copy_unit` would do, without reading the chunks.

    Parameters
    ----------
    source
        A unit's folder.
    root
        The cache to bring it into.
    """
    return _plan(source, root)[0]


def copy_unit(source: Path, root: Path, *, progress: Callable[[int], None] = lambda count: None) -> Transfer:
    """Bring a unit into another cache, unless an equal one is there.

    Every file is compared with the marker while it is copied into a temporary folder beside the unit's place, which
    readers and writers ignore. That folder is on the disk, marker last, before it is renamed: whatever happens, the
    whole unit is there or none of it. The unit's place follows from its description, not from the names of folders.
    What is incomplete or damaged there is replaced, unless a process claims it. Claims and journals stay behind.

    Parameters
    ----------
    source
        A unit's folder.
    root
        The cache to bring it into.
    progress
        Called with numbers of bytes, as they are copied.

    Raises
    ------
    CacheError
        When the disk, or the quota, is full: other units would not fit either. Other failures are in what is returned.
    """
    plan, unit = _plan(source, root)
    if unit is None or plan.state != "wanted":
        return plan
    try:
        return replace(plan, state=_copy(unit, root, progress))
    except CorruptUnitError as error:
        return replace(plan, state="damaged", problem=error)
    except CacheError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return replace(plan, state="failed", problem=error)


def _plan(source: Path, root: Path) -> tuple[Transfer, StoredUnit[Any] | None]:
    label = str(source)
    try:
        unit = open_unit(source)
        label = unit.spec.label
        if not looks_whole(source, unit.marker):
            raise CorruptUnitError(f"{source} lacks files, or parts of them", hint=Hint("verify"))
        plan = Transfer(
            source=source,
            label=label,
            state=_standing(unit, root),
            target=unit.spec.folder(root),
            bytes=unit.marker.total_bytes,
            content_hash=unit.content_hash,
        )
        return plan, unit
    except IncompleteUnitError:
        return Transfer(source=source, label=label, state="incomplete"), None
    except CorruptUnitError as error:
        return Transfer(source=source, label=label, state="damaged", problem=error), None
    except CacheError as error:  # a newer format, at either end; another unit in the way
        return Transfer(source=source, label=label, state="failed", problem=error), None


def _standing(unit: StoredUnit[Any], root: Path) -> str:
    """Compare a unit with what is in its place in a cache: ``"wanted"``, ``"present"`` or ``"kept"``."""
    target, marker = unit.spec.folder(root), None
    with contextlib.suppress(IncompleteUnitError, CorruptUnitError):
        marker = read_marker(target)
    try:
        there = read_spec(target, type(unit.spec), marker)
    except CorruptUnitError:  # none, or not as it was written
        return "wanted"
    if there.folder(root) != target:  # another's, which does not belong here
        return "wanted"
    if there.digest() != unit.spec.digest():
        raise CacheError(
            f"{target} holds another request whose digest begins with the same eight characters",
            hint=Hint("separate"),
        )
    if marker is None or not looks_whole(target, marker):
        return "wanted"
    return "present" if marker.content_hash == unit.content_hash else "kept"


def _copy(unit: StoredUnit[Any], root: Path, progress: Callable[[int], None]) -> str:
    target = unit.spec.folder(root)
    with explain_os_errors(f"write {target}"), take_claim(target) as claim:
        state = _standing(unit, root)  # another process may have written it since
        if state != "wanted":
            return state
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_COPYING}")
        try:
            # Of copies and removals of this unit that were killed; the length tells other units' apart.
            for leftover in target.parent.glob(f".{target.name}.{'?' * 32}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            make_groups(root, unit.spec)
            _fill(temporary, unit, progress)
            claim.check()
            aside = set_aside(target)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            claim.release()
            _withdraw(unit, root)
            raise
        sync_folder(target.parent)
        shutil.rmtree(aside, ignore_errors=True)
    return "copied"


def _fill(folder: Path, unit: StoredUnit[Any], progress: Callable[[int], None]) -> None:
    """Copy a unit's files into a new folder; durable on return."""
    for key, promised in unit.marker.files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        _copy_file(unit.folder / key, folder / key, promised, progress)
    record = f"{unit.spec.kind.records}/run.json"
    (folder / record).parent.mkdir(exist_ok=True)
    content = None
    with contextlib.suppress(OSError):  # it is not promised
        content = (unit.folder / record).read_bytes()
    if content is not None:
        (folder / record).write_bytes(content)
    for path in folder.rglob("*"):  # after all was written, so that the disk can order it
        sync_file(path)
    write_marker(folder, unit.marker)
    sync_folder(folder)


def _copy_file(source: Path, target: Path, promised: FileRecord, progress: Callable[[int], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        for block in _blocks(source):
            size += len(block)
            if size > promised.bytes:
                break
            digest.update(block)
            file.write(block)
            progress(len(block))
    if size != promised.bytes or digest.hexdigest() != promised.sha256:
        raise CorruptUnitError(
            f"{source} is not what was written (its checksum differs): the unit is damaged, or was replaced while it "
            "was copied; it was not copied",
            hint=Hint("verify"),
        )


def _blocks(path: Path) -> Iterator[bytes]:
    with explain_os_errors(f"read {path}"):
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    yield block
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CorruptUnitError(
                f"{path} is missing: the unit is damaged, or was removed while it was copied; it was not copied"
            ) from error


def _withdraw(unit: StoredUnit[Any], root: Path) -> None:
    """Remove the folders that a claim made, if nothing has come into them, and groups that are empty without them."""
    target = unit.spec.folder(root)
    records = target / unit.spec.kind.records
    with contextlib.suppress(OSError):
        for folder in (records, records.parent, target):
            folder.rmdir()
        for parent in list(target.relative_to(root).parents)[:-1]:
            if not remove_empty_group(root / parent):
                break
