"""Deleting: what a reader or a writer may be using at the same moment."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Set
from pathlib import Path

from .durable import PARTIAL_SUFFIX, write_atomic
from .kinds import kind_of
from .layout import GROUP
from .marker import marker_key

__all__ = ["clear_unit", "discard", "find_strays", "remove_empty_group", "remove_folder", "set_aside"]


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no reader sees half of it: rename first, then delete."""
    for leftover in folder.parent.glob(".*.removed"):  # of an earlier removal that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    if not folder.exists():
        return
    with contextlib.suppress(FileNotFoundError):  # another removal took it for a leftover, and deletes it
        shutil.rmtree(set_aside(folder))


def set_aside(folder: Path) -> Path:
    """Rename a folder, to be deleted, so that nobody sees it any more; return where it is."""
    doomed = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.removed")
    folder.rename(doomed)
    return doomed


def find_strays(unit: Path, files: Set[str]) -> Iterator[str]:
    """Yield the keys of what is in a unit and is none of these files: leftovers, copies gone wrong.

    The unit's records do not count, nor do hidden files (of file managers and network file systems) outside of chunks'
    folders. Links to folders are not followed; those on the way to one of the files are in order.
    """
    kind = kind_of(unit)
    chunks = tuple(f"{array.chunks}/" for array in kind.arrays)
    ways = set()
    for key in (*files, marker_key(unit)):
        while (key := key.rpartition("/")[0]) and key not in ways:
            ways.add(key)
    for parent, folders, names in os.walk(unit):
        top = parent[len(str(unit)) + 1 :].replace(os.sep, "/") + "/"
        if top == f"{kind.records}/":
            folders.clear()
            continue
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for found, wanted in ((names, files), (links, ways)):
            keys = (f"{top}{name}".lstrip("/") for name in found if top.startswith(chunks) or name[0] != ".")
            yield from (key for key in keys if key not in wanted)


def clear_unit(unit: Path, *, keep: Set[str]) -> None:
    """Delete all in a unit but these files, its records and hidden files, with folders that thereby become empty.

    Deletes nothing behind links, which may lead out of the cache.
    """
    for leftover in unit.rglob(f"*{PARTIAL_SUFFIX}"):
        if leftover.is_symlink() or not leftover.is_dir():
            leftover.unlink(missing_ok=True)  # it may be another process's, which gives it up at this moment
    records = kind_of(unit).records
    for key in list(find_strays(unit, keep)):
        (unit / key).unlink(missing_ok=True)
    for parent, folders, _ in os.walk(unit, topdown=False):
        for path in (Path(parent, name) for name in folders):
            if path != unit / records and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()


def discard(path: Path) -> None:
    """Delete a file, or the folder that is in its place, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty_group(group: Path) -> bool:
    """Remove a group that has no members; tell whether it is gone.

    A writer may be making a member at this moment: rmdir, unlike a rename, cannot take that along.
    """
    metadata = group / GROUP
    content = None
    try:
        if any(path.name != GROUP for path in group.iterdir()):
            return False
        with contextlib.suppress(FileNotFoundError):  # a dataset's folder has none
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
