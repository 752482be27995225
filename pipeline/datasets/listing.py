"""Listing folders of images and checking names that come from files."""

import re
from pathlib import Path

from ...extract.frames import IMAGE_SUFFIXES
from ...store.errors import FrameError

__all__ = ["is_plain_name", "list_images"]


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder in the order of the numbers in their names, so that 2.png comes before 10.png.

    Hidden files and files of other kinds are left out.

    Raises
    ------
    FrameError
        When the folder cannot be listed.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    except OSError as error:
        raise FrameError(f"cannot list folder {folder}: {error.strerror}") from error
    return sorted(files, key=_natural_key)


def is_plain_name(name: str) -> bool:
    """Whether a name is that of one folder, and does not lead anywhere else."""
    return name not in {"", ".", ".."} and name.isprintable() and not set(name) & set("/\\:")


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.stem)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], path.name
