"""Copy complete units from one cache into another: verified while copying, and atomic."""

import contextlib
import errno
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .arrays import make_groups
from .claims import take_claim
from .durable import NO_FILE, explain_os_errors, read_regular, sync_file, sync_folder
from .errors import CacheError, CorruptUnitError, Hint, IncompleteUnitError
from .integrity import looks_whole, open_unit
from .layout import check_inside
from .marker import FileRecord, checksum, read_marker, write_marker
from .removal import remove_empty_groups, set_aside
from .stored import StoredUnit, read_spec

#: Ending of the temporary folders that units are copied into.
COPYING_SUFFIX = ".copying"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Plan or result of copying one unit.

    Attributes
    ----------
    source
        The unit's folder.
    label
        The unit's name for messages, or its folder if its description cannot be read.
    state
        ``"wanted"`` (to be copied), ``"copied"``, ``"present"`` (the destination has equal content), ``"kept"`` (the
        destination has other content of the same request, which stays), ``"incomplete"`` or ``"damaged"`` (the source),
        or ``"failed"``.
    target
        Folder at the destination, derived from the description; None if that cannot be read.
    bytes
        Total size of the files that the marker lists.
    content_hash
        Hash of the content, from the marker.
    problem
        Reason why the unit was not copied, if something is wrong.
    """

    source: Path
    label: str
    state: str
    target: Path | None = None
    bytes: int = 0
    content_hash: str = ""
    problem: CacheError | None = None


def plan_transfer(source: Path, root: Path) -> Transfer:
    """Plan `copy_unit`, without reading the chunks.

    Parameters
    ----------
    source
        A unit's folder.
    root
        The cache to copy it into.
    """
    return _plan(source, root)[0]


def copy_unit(source: Path, root: Path, *, progress: Callable[[int], None] = lambda count: None) -> Transfer:
    """Copy a unit into another cache, unless an equal one exists there.

    Every file is compared with the marker while it is copied into a temporary folder beside the target, which readers
    and writers ignore. The folder is renamed once it is on the disk, so a crash leaves the whole unit or none of it.
    The target is derived from the unit's description, not from the names of folders. An incomplete or damaged unit at
    the target is replaced, unless a process claims it. Claims and journals are not copied.

    Parameters
    ----------
    source
        A unit's folder.
    root
        The cache to copy it into.
    progress
        Called with the number of bytes just copied.

    Raises
    ------
    CacheError
        When the disk or the quota is full, since other units would not fit either. Other failures are reported in the
        result.
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
            state=_compare(unit, root),
            target=unit.spec.folder(root),
            bytes=unit.marker.total_bytes,
            content_hash=unit.content_hash,
        )
        return plan, unit
    except IncompleteUnitError:
        return Transfer(source=source, label=label, state="incomplete"), None
    except CorruptUnitError as error:
        return Transfer(source=source, label=label, state="damaged", problem=error), None
    except CacheError as error:  # a newer format at either end, or another unit at the target
        return Transfer(source=source, label=label, state="failed", problem=error), None


def _compare(unit: StoredUnit[Any], root: Path) -> str:
    """Compare a unit with the unit at its target in a cache; return ``"wanted"``, ``"present"`` or ``"kept"``."""
    target, marker = unit.spec.folder(root), None
    check_inside(root, target / unit.spec.layout.records)
    with contextlib.suppress(IncompleteUnitError, CorruptUnitError):
        marker = read_marker(target)
    try:
        there = read_spec(target, type(unit.spec), marker)
    except CorruptUnitError:  # absent or damaged
        return "wanted"
    if there.folder(root) != target:  # another unit, at a wrong path
        return "wanted"
    if there.digest() != unit.spec.digest():
        raise CacheError(
            f"{target} holds another request whose digest begins with the same eight characters", hint=Hint("separate")
        )
    if marker is None or not looks_whole(target, marker):
        return "wanted"
    return "present" if marker.content_hash == unit.content_hash else "kept"


def _copy(unit: StoredUnit[Any], root: Path, progress: Callable[[int], None]) -> str:
    target = unit.spec.folder(root)
    with explain_os_errors(f"write {target}"), take_claim(target) as claim:
        state = _compare(unit, root)  # another process may have written it since
        if state != "wanted":
            return state
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{COPYING_SUFFIX}")
        try:
            # Leftovers of killed copies and removals of this unit; names of another length belong to other units.
            for leftover in target.parent.glob(f".{target.name}.{'?' * 32}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            make_groups(root, unit.spec, scratch=temporary)
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
    """Copy a unit's files into an empty folder; durable on return."""
    for key, promised in unit.marker.files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        _copy_file(unit.folder / key, folder / key, promised, progress)
    record = f"{unit.spec.layout.records}/run.json"
    (folder / record).parent.mkdir(exist_ok=True)
    content = None
    with contextlib.suppress(OSError):  # the marker does not list it
        content = read_regular(unit.folder / record)
    if content is not None:
        (folder / record).write_bytes(content)
    for path in folder.rglob("*"):  # sync after all writes, so that the disk can reorder them
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    write_marker(folder, unit.marker)
    sync_folder(folder)


def _copy_file(source: Path, target: Path, promised: FileRecord, progress: Callable[[int], None]) -> None:
    with explain_os_errors(f"read {source}"):
        try:
            data = read_regular(source, promised.bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CorruptUnitError(
                f"{source} is missing: the unit is damaged, or was removed while it was copied; it was not copied"
            ) from error
        except OSError as error:
            if error.errno in NO_FILE:
                raise _changed(source) from error
            raise
    if len(data) != promised.bytes or checksum(data) != promised.sha256:
        raise _changed(source)
    with target.open("xb") as file:
        file.write(data)
    progress(len(data))


def _changed(path: Path) -> CorruptUnitError:
    return CorruptUnitError(
        f"{path} is not what was written (its checksum differs): the unit is damaged, or was replaced while it was "
        "copied; it was not copied",
        hint=Hint("verify"),
    )


def _withdraw(unit: StoredUnit[Any], root: Path) -> None:
    """Remove the empty folders that a claim created, and groups that become empty."""
    target = unit.spec.folder(root)
    records = target / unit.spec.layout.records
    with contextlib.suppress(OSError):
        for folder in (records, records.parent, target):
            folder.rmdir()
        remove_empty_groups(root, target)
