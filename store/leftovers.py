"""Find leftovers of killed processes in a cache, and reclaim their space."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .claims import STALE_AFTER_S, is_claimed, take_claim
from .copying import COPYING_SUFFIX
from .durable import PARTIAL_SUFFIX, explain_os_errors
from .errors import ClaimedError
from .layout import GROUP
from .removal import REMOVED_SUFFIX, remove_empty_group, remove_empty_groups, remove_folder

_FOLDER = re.compile(
    rf"\.(?P<unit>.+)\.[0-9a-f]{{32}}(?P<suffix>{re.escape(REMOVED_SUFFIX)}|{re.escape(COPYING_SUFFIX)})"
)


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that a killed process left in a cache.

    Attributes
    ----------
    path
        The file or folder.
    kind
        ``"removed"`` (a partly deleted unit), ``"copying"`` (a partial copy), ``"partial"`` (a temporary file),
        ``"claimed"`` (a unit's folder that holds only the claim of a dead process) or ``"empty"`` (a group without
        members).
    bytes
        Total size of its files.
    """

    path: Path
    kind: str
    bytes: int


def find_leftovers(root: Path) -> Iterator[Leftover]:
    """Yield the leftovers in a cache whose processes are dead, in no order.

    A process that copies, removes or writes a unit holds its claim. Files of units with a live claim are skipped, and
    so are temporary files that are younger than the time after which claims are stale. Links are not followed, and only
    folders of videos are searched.
    """
    for parent, folders, names in os.walk(root):
        here = Path(parent)
        depth = len(here.relative_to(root).parts)
        if depth < 2:
            ending = ".zarr" if depth else ""
            folders[:] = [name for name in folders if name[0] != "." and name.endswith(ending)]
            continue
        members = list(folders)
        for name in members:
            found = _FOLDER.fullmatch(name)
            if found is None:
                continue
            folders.remove(name)
            path = here / name
            owned = here / found["unit"] if found["suffix"] == COPYING_SUFFIX else path
            if not path.is_symlink() and not is_claimed(owned):
                yield Leftover(path=path, kind=found["suffix"][1:], bytes=_size(path))
        unit = _unit_of(root, here)
        if unit == here and is_claimed(unit):
            folders.clear()
            continue
        for name in names:
            path = here / name
            if name[0] == "." and name.endswith(PARTIAL_SUFFIX) and _is_old(path):
                yield Leftover(path=path, kind="partial", bytes=path.lstat().st_size)
        if unit == here and GROUP not in names and _is_only_claimed(here):
            folders.clear()
            yield Leftover(path=here, kind="claimed", bytes=_size(here))
        elif unit is None and not members and set(names) <= {GROUP}:
            yield Leftover(path=here, kind="empty", bytes=_size(here))


def reclaim(root: Path, leftover: Leftover) -> None:
    """Delete a leftover, and groups that become empty.

    Raises
    ------
    ClaimedError
        When a process has begun to use it since it was found.
    CacheError
        When the disk fails.
    """
    path = leftover.path
    with explain_os_errors(f"remove {path}"), contextlib.suppress(FileNotFoundError):
        if leftover.kind == "empty":
            remove_empty_group(path)
        elif leftover.kind == "partial":
            path.unlink()
        elif leftover.kind == "claimed":
            with take_claim(path):  # the claim file is deleted with the folder
                if not _is_only_claimed(path):
                    raise ClaimedError(f"{path} is being written meanwhile")
                remove_folder(path)
        else:
            shutil.rmtree(path)
        if leftover.kind != "partial":
            remove_empty_groups(root, path)


def _unit_of(root: Path, folder: Path) -> Path | None:
    """Return the unit's folder that contains (or is) a folder; None for a group above units."""
    parts = folder.relative_to(root).parts
    depth = 6 if len(parts) > 2 and "@" in parts[2] else 4
    return root.joinpath(*parts[:depth]) if len(parts) >= depth else None


def _is_only_claimed(unit: Path) -> bool:
    """Tell whether a unit's folder holds only the claim of a dead process."""
    names = {path.name for path in unit.rglob("*") if path.is_symlink() or not path.is_dir()}
    claimed = "claim.json" in names
    return all(name == "claim.json" or name.endswith(PARTIAL_SUFFIX) for name in names) and (claimed or _is_old(unit))


def _is_old(path: Path) -> bool:
    """Tell whether a file or folder is older than the time after which claims are stale."""
    try:
        return abs(time.time() - path.lstat().st_mtime) > STALE_AFTER_S
    except FileNotFoundError:
        return False


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total
