"""Deleting: what a reader or a writer may be using at the same moment."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Set
from pathlib import Path

from .durable import write_atomic
from .layout import GROUP

__all__ = ["clear_folder", "remove_empty_group", "remove_folder", "set_aside"]


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


def clear_folder(folder: Path, *, keep: Set[Path]) -> None:
    """Delete all in a folder but these files, with the folders that thereby become empty; follows no symlinks."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in files):
            if path not in keep:
                path.unlink()
        for path in (Path(parent, name) for name in folders):
            if not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()


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
