"""Read tables of boxes and points (CSV) strictly; every error names the line.

Boxes are in the layout of MOTChallenge, points in that of ``tracks.csv``: docs/guide/joints-points-boxes.md.
"""

import csv
import io
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...store.errors import LabelError

#: What a table annotates.
TableKind = Literal["boxes", "points"]

# File names that are searched for in a folder of annotations; a table of another name is passed by its path.
_FILES = ("boxes.csv", "boxes.txt", "gt.txt", "points.csv", "tracks.csv")

_MOT = ("frame", "id", "x", "y", "w", "h", "conf")
_VALUES: Mapping[TableKind, tuple[str, ...]] = {"boxes": ("x", "y", "w", "h"), "points": ("x", "y")}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LARGEST = 10**9  # largest whole number
_FURTHEST = 1e6  # pixels: larger coordinates are mistakes, and areas might overflow


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One annotation: an object in a frame."""

    line: int  # number of the line in the file, from 1
    frame: str  # as written: a number from 1 for boxes, the name of a frame for points
    id: int  # number of the object
    values: tuple[float, ...]  # x, y, width and height of a box; x and y of a point; in pixels, finite


@dataclass(frozen=True, kw_only=True)
class AnnotationTable:
    """A table of boxes or points."""

    path: Path  # the file
    kind: TableKind  # whether rows are boxes or points
    rows: tuple[TableRow, ...]  # at least one

    def wrong(self, row: TableRow, what: str) -> LabelError:
        """Return an error that names the row's line."""
        return _wrong(self.path, row.line, what)


def find_annotation_table(annotations: Path) -> Path | None:
    """Return the table at a path: the file itself, or the one in a folder; None for a folder without a table.

    Raises LabelError if a folder has several tables.
    """
    if annotations.suffix.lower() in (".json", ".xml"):
        raise LabelError(
            f"{annotations} is no table of boxes or points; masks of tools (COCO, LabelMe, CVAT) become PNG "
            f"files by `ted mask VIDEO --from {shlex.quote(str(annotations))}`"
        )
    if annotations.is_file():
        return annotations
    found = [annotations / name for name in _FILES if (annotations / name).is_file()]
    if len(found) > 1:
        raise LabelError(
            f"{annotations} has several tables ({', '.join(path.name for path in found)}): a run tracks one kind of "
            "annotation; give --annotations the path of the file"
        )
    return found[0] if found else None


def read_annotation_table(path: Path) -> AnnotationTable:
    """Read a table of boxes or points.

    Without a header, rows are boxes in MOTChallenge's layout: ``frame,id,x,y,w,h`` and more columns; a seventh value of
    0 means that the row does not count. A header names the columns, in any order; rows with ``w`` and ``h`` are
    boxes, others are points. Points have an ``id`` (or ``track``, or ``point``); rows that are not ``visible``, or
    without coordinates, are left out. Raises LabelError if the file cannot be read, a line is wrong, or no row counts.
    """
    lines = list(read_cells(path))
    if not lines:
        raise LabelError(f"{path} is empty: a line of boxes is frame,id,x,y,w,h; a table of points has a header")
    first, cells = lines[0]
    columns = _headerless(path, first, cells) if _NUMBER.fullmatch(cells[0]) else _header(path, first, cells)
    kind: TableKind = "boxes" if "w" in columns else "points"
    body = lines if _NUMBER.fullmatch(cells[0]) else lines[1:]
    rows = tuple(row for line, cells in body if (row := _row(path, line, cells, columns, kind)) is not None)
    if not rows:
        raise LabelError(f"{path} has no {kind}: every row is empty, or marked as not counting")
    return AnnotationTable(path=path, kind=kind, rows=rows)


def read_box_rows(path: Path) -> list[tuple[TableRow, list[float]]]:
    """Read all rows of a ground truth of MOTChallenge, which has no header, with the numbers of the further columns.

    These are whether the row counts, the class, and the visible share, and may be missing. Raises LabelError as
    `read_annotation_table`.
    """
    columns = {name: at for at, name in enumerate(_MOT[:6])}
    found = []
    for line, cells in read_cells(path):
        row = _parsed(path, line, cells, columns, "boxes")
        found.append(
            (row, [parse_number(path, line, f"column {at}", cells[at - 1]) for at in range(7, len(cells) + 1)])
        )
    return found


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, stripped cells) of the lines of comma-separated values that are not empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise LabelError(
            f"{path} is not text: --annotations takes a table of boxes or points (CSV, UTF-8), or a folder of masks; "
            "--mask takes one mask, of the first frame"
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise _wrong(path, reader.line_num, f"cannot be read as comma-separated values ({error})") from error


def _headerless(path: Path, line: int, cells: Sequence[str]) -> dict[str, int]:
    if len(cells) == 4:
        raise _wrong(
            path, line, "has 4 values, as the lists of GOT-10k and LaSOT, which name no frame and no object: put the "
            "number of the frame, from 1, and that of the object in front, as in 1,1,x,y,w,h"
        )  # fmt: skip
    if len(cells) < 6:
        raise _wrong(
            path, line, f"has {len(cells)} comma-separated values: a line of boxes is frame,id,x,y,w,h (as in "
            "MOTChallenge; frames from 1), and a table of points begins with the line frame,id,x,y"
        )  # fmt: skip
    return {name: at for at, name in enumerate(_MOT[: len(cells)])}


def _header(path: Path, line: int, cells: Sequence[str]) -> dict[str, int]:
    """Return the index of each column by this module's name for it."""
    names = [cell.lower() for cell in cells]
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise _wrong(path, line, f"names the column {_shown(twice)} twice")
    columns = {name: at for at, name in enumerate(names)}
    for name, others in {"id": ("track", "point"), "w": ("width",), "h": ("height",)}.items():
        other = next((other for other in others if other in columns), None)
        if name not in columns and other is not None:
            columns[name] = columns[other]
    wanted = ("frame", "id", "x", "y", *(("w", "h") if {"w", "h"} & columns.keys() else ()))
    lacking = [name for name in wanted if name not in columns]
    if lacking:
        raise _wrong(
            path, line, f"must be numbers (frame,id,x,y,w,h: a box) or name the columns: frame, id, x, y for points, "
            f"also w, h for boxes; found {_shown(','.join(cells))}, without {', '.join(lacking)}"
        )  # fmt: skip
    return columns


def _row(path: Path, line: int, cells: Sequence[str], columns: Mapping[str, int], kind: TableKind) -> TableRow | None:
    """Parse a line; None if it does not count."""
    texts = _texts(path, line, cells, columns, kind)
    for name in ("conf", "visible"):
        text = {"false": "0", "true": "1", "": "1"}.get(texts.get(name, "").lower(), texts.get(name, ""))
        if not _NUMBER.fullmatch(text):
            raise _wrong(path, line, f"has {_shown(text)} for {name}, which must be a number, true, or false; 0: no")
        if float(text) == 0:
            return None
    if kind == "points" and not texts["x"] and not texts["y"]:
        return None
    return _parsed(path, line, cells, columns, kind)


def _texts(path: Path, line: int, cells: Sequence[str], columns: Mapping[str, int], kind: TableKind) -> dict[str, str]:
    """Return the cells of a line by column; raises LabelError if a needed one is missing."""
    needed = ("frame", "id", *_VALUES[kind])
    if len(cells) <= max(columns[name] for name in needed):
        raise _wrong(path, line, f"has {len(cells)} values, too few for {', '.join(needed)}")
    return {name: cells[at] for name, at in columns.items() if at < len(cells)}


def _parsed(path: Path, line: int, cells: Sequence[str], columns: Mapping[str, int], kind: TableKind) -> TableRow:
    """Parse a line, whether it counts or not."""
    texts = _texts(path, line, cells, columns, kind)
    values = tuple(parse_number(path, line, name, texts[name]) for name in _VALUES[kind])
    if kind == "boxes" and min(values[2:]) <= 0:
        raise _wrong(path, line, f"has a box of {values[2]:g} x {values[3]:g}: width and height must be positive")
    number = _whole(path, line, "id", texts["id"])
    if number < 0:
        raise _wrong(
            path, line, f"has the id {_shown(texts['id'])}: ids are whole numbers from 0 on, the same for an object in "
            "all its frames (-1, as in files of detections, names no object)"
        )  # fmt: skip
    frame = str(_whole(path, line, "frame", texts["frame"])) if kind == "boxes" else texts["frame"]
    return TableRow(line=line, frame=frame, id=number, values=values)


def parse_number(path: Path, line: int, name: str, text: str) -> float:
    """Parse a cell with a coordinate; raises LabelError for other text, and for more than a million."""
    if not _NUMBER.fullmatch(text):
        raise _wrong(
            path, line, f"has {_shown(text)} for {name}, which is not a finite decimal number; leave the line out if "
            "the object is not visible"
        )  # fmt: skip
    value = float(text)
    if not math.isfinite(value) or abs(value) > _FURTHEST:
        raise _wrong(path, line, f"has {_shown(text)} for {name}: more than a million pixels")
    return value


def _whole(path: Path, line: int, name: str, text: str) -> int:
    """Parse a whole number, which some tools write as 1.0."""
    if _NUMBER.fullmatch(text) and abs(float(text)) <= _LARGEST and float(text).is_integer():
        return int(float(text))
    raise _wrong(path, line, f"has {_shown(text)} for {name}, which must be a whole number, a billion at most")


def _shown(text: str) -> str:
    """Return a cell quoted, escaped, and shortened."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _wrong(path: Path, line: int, what: str) -> LabelError:
    return LabelError(f"line {line} of {path} {what}")
