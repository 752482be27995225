"""Listing folders of images and checking names that come from files."""

import re
from pathlib import Path

from ...extract.frames import IMAGE_SUFFIXES
from ...store.errors import ConfigError, FrameError

__all__ = ["is_plain_name", "list_folders", "list_images", "list_masks", "read_lines", "read_names"]


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


def list_masks(folder: Path) -> dict[str, Path]:
    """Image files of a folder by name of the frame, in the order of the numbers in it; none if it is absent.

    Raises
    ------
    FrameError
        When the folder cannot be listed.
    """
    return {path.stem: path for path in (list_images(folder) if folder.is_dir() else ())}


def list_folders(folder: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, in the order of the numbers in them; hidden ones are left out.

    Raises
    ------
    FrameError
        When the folder cannot be listed.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError as error:
        raise FrameError(f"cannot list folder {folder}: {error.strerror}") from error
    return tuple(path.name for path in sorted(found, key=_natural_key) if is_plain_name(path.name))


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list that are not empty, stripped, each with its number.

    Raises
    ------
    ConfigError
        When it cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read list {path}: {error}") from error
    found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise ConfigError(f"list {path} is empty")
    return found


def read_names(path: Path, what: str = "video") -> tuple[str, ...]:
    """Read a list of names, one a line, each once.

    Raises
    ------
    ConfigError
        When it cannot be read, is empty, or a line is not the name of a folder.
    """
    names: dict[str, None] = {}
    for number, line in read_lines(path):
        if not is_plain_name(line):
            raise ConfigError(f"line {number} of {path} is not the name of a {what}: {line!r}")
        names[line] = None
    return tuple(names)


def is_plain_name(name: str) -> bool:
    """Whether a name is that of one folder, and does not lead anywhere else."""
    return name not in {"", ".", ".."} and name.isprintable() and not set(name) & set("/\\:")


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.stem)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], path.name
