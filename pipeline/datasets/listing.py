"""List folders of images, read lists of names, and check names that come from files."""

import os
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from ...extract.frames import IMAGE_SUFFIXES
from ...store.errors import ConfigError, FrameError

#: Names, in lower case, of files and folders that operating systems and network storage leave behind.
_SYSTEM_FILES = frozenset(
    {"@eadir", "@tmp", "#recycle", "#snapshot", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found"}
)


def list_images(folder: Path) -> list[Path]:
    """List the image files of a folder in the order of the numbers in their names, so that 2.png precedes 10.png.

    Like the other functions of this module, it raises FrameError if a folder cannot be listed.
    """
    found = _entries(folder, lambda entry: entry.is_file())
    return natural_order(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)


def list_masks(folder: Path) -> dict[str, Path]:
    """List the image files of a folder by the name of the frame, as `list_images`; none if the folder is absent."""
    return {path.stem: path for path in (list_images(folder) if folder.is_dir() else ())}


def list_folders(folder: Path) -> tuple[str, ...]:
    """List the names of the folders in a folder, in the order of the numbers in them."""
    found = _entries(folder, lambda entry: entry.is_dir())
    return tuple(path.name for path in natural_order(found, lambda path: path.name) if is_plain_name(path.name))


def list_files(folder: Path, suffix: str) -> list[Path]:
    """List the files of a folder with this suffix, in alphabetical order; none if the folder is absent."""
    found = _entries(folder, lambda entry: entry.is_file()) if folder.is_dir() else []
    return sorted(path for path in found if path.name.endswith(suffix))


def _entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    """List the entries of a folder, except hidden files and files of operating systems."""
    try:
        with os.scandir(folder) as entries:
            return [
                folder / entry.name
                for entry in entries
                if entry.name[0] != "." and entry.name.lower() not in _SYSTEM_FILES and wanted(entry)
            ]
    except OSError as error:
        raise FrameError(f"cannot list folder {folder}: {error.strerror}") from error


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a list that are not empty, stripped, each with its number from 1.

    Raises ConfigError if it cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read list {path}: {error}") from error
    found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise ConfigError(f"list {path} is empty")
    return found


def read_names(path: Path, what: str = "video", name: Callable[[str], str] = str) -> tuple[str, ...]:
    """Return the names in a list, one per line, without repetitions; `name` extracts it from the line.

    Raises ConfigError as `read_lines`, and if a name cannot name a folder.
    """
    names: dict[str, None] = {}
    for number, line in read_lines(path):
        found = name(line)
        if not is_plain_name(found):
            raise ConfigError(f"line {number} of {path} is not the name of a {what}: {line!r}")
        names[found] = None
    return tuple(names)


def is_plain_name(name: str) -> bool:
    """Return whether a name can name a folder, and does not lead out of its parent."""
    return name not in {"", ".", ".."} and name.isprintable() and not set(name) & set("/\\:")


def natural_order(paths: Iterable[Path], name: Callable[[Path], str] = lambda path: path.stem) -> list[Path]:
    """Sort paths by their names, numbers in them by value.

    Numbers may have decimals (1, 1.25, 1.5, 2), and a sign if they are the whole name. Digits after a dot are whole
    numbers if they count up: cam1.8, cam1.9, cam1.10.
    """
    by_name = {path: name(path) for path in paths}
    decimal = r"(?<![0-9.])[0-9]+\.[0-9]+(?!\.?[0-9])"  # but not 1.2.3
    number = "[0-9]+" if _count_after_dot(list(by_name.values())) else f"{decimal}|[0-9]+"

    def key(path: Path) -> tuple[list[tuple[int, Fraction, str]], str]:
        text = by_name[path]
        whole = re.fullmatch(r"-[0-9]+(\.[0-9]+)?", text)
        parts = [text] if whole else [part for part in re.split(f"({number})", text) if part]
        order = [
            (1, Fraction(part), "") if whole or part[0] in "0123456789" else (0, Fraction(0), part) for part in parts
        ]
        return order, path.name

    return sorted(by_name, key=key)


def _count_after_dot(names: list[str]) -> bool:
    """Return whether all names are equal up to a dot, followed by whole numbers without a gap."""
    found = [match for name in names if (match := re.fullmatch(r"(.*[0-9])\.([0-9]+)", name))]
    numbers = sorted(int(match[2]) for match in found)
    return (
        len(found) == len(names)
        and len({match[1] for match in found}) == 1
        and all(after - before == 1 for before, after in pairwise(numbers))
    )
