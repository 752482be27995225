"""Delete units and groups while readers and writers may be using them."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Set
from pathlib import Path

from .artifacts.registry import layout_at
from .durable import PARTIAL_SUFFIX, write_atomic
from .layout import GROUP
from .marker import marker_key

#: Ending of folders that are being deleted.
REMOVED_SUFFIX = ".removed"


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no reader sees a part of it: rename first, then delete."""
    for leftover in folder.parent.glob(f".*{REMOVED_SUFFIX}"):  # from earlier removals that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    if not folder.exists():
        return
    with contextlib.suppress(FileNotFoundError):  # another removal took it for a leftover and deleted it
        shutil.rmtree(set_aside(folder))


def set_aside(folder: Path) -> Path:
    """Rename a folder to a hidden name that readers and writers ignore; return its new path, for deletion."""
    doomed = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{REMOVED_SUFFIX}")
    folder.rename(doomed)
    return doomed


def find_strays(unit: Path, files: Set[str]) -> Iterator[str]:
    """Yield the keys of all other files in a unit: leftovers, results of wrong copying.

    The unit's records are skipped, and so are hidden files (of file managers and network file systems) outside of the
    chunks' folders. Links to folders are not followed, and are reported unless they lead to one of `files`.
    """
    layout = layout_at(unit)
    chunks = tuple(f"{array.chunks}/" for array in layout.arrays)
    ways = set()
    for key in (*files, marker_key(unit)):
        while (key := key.rpartition("/")[0]) and key not in ways:
            ways.add(key)
    for parent, folders, names in os.walk(unit):
        top = parent[len(str(unit)) + 1 :].replace(os.sep, "/") + "/"
        if top == f"{layout.records}/":
            folders.clear()
            continue
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for found, wanted in ((names, files), (links, ways)):
            keys = (f"{top}{name}".lstrip("/") for name in found if top.startswith(chunks) or name[0] != ".")
            yield from (key for key in keys if key not in wanted)


def clear_unit(unit: Path, *, keep: Set[str]) -> None:
    """Delete everything in a unit except `keep`, its records and hidden files, and folders that become empty.

    Nothing behind links is deleted, since they may lead out of the cache.
    """
    for leftover in unit.rglob(f"*{PARTIAL_SUFFIX}"):
        if leftover.is_symlink() or not leftover.is_dir():
            leftover.unlink(missing_ok=True)  # its own process may be deleting it at the same time
    records = layout_at(unit).records
    for key in list(find_strays(unit, keep)):
        (unit / key).unlink(missing_ok=True)
    for parent, folders, _ in os.walk(unit, topdown=False):
        for path in (Path(parent, name) for name in folders):
            if path != unit / records and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()


def discard(path: Path) -> None:
    """Delete a file, or a folder of that name, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty_groups(root: Path, unit: Path) -> None:
    """Remove empty groups above a removed unit, up to the dataset's folder; never remove the root."""
    for parent in list(unit.relative_to(root).parents)[:-1]:
        if not remove_empty_group(root / parent):
            break


def remove_empty_group(group: Path) -> bool:
    """Remove a group that has no members; return whether it is gone.

    A writer may create a member at the same time; rmdir then fails, while a rename would move the member too.
    """
    metadata = group / GROUP
    content = None
    try:
        if any(path.name != GROUP for path in group.iterdir()):
            return False
        with contextlib.suppress(FileNotFoundError):  # a dataset's folder has no metadata
            content = metadata.read_bytes()
        metadata.unlink(missing_ok=True)
        group.rmdir()
    except FileNotFoundError:  # another process removed it
        return True
    except OSError:
        if content is not None:
            write_atomic(metadata, content)
        return False
    return True
