"""Tables of scores: written as CSV files and as text, and read back."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import fmean

from ...store.errors import ConfigError
from ..runs.files import written_whole


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV file with a header: its name without suffix, its titles, and its rows of as many texts."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def records(self) -> list[dict[str, str]]:
        """The rows, by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """Titles of a table of means.

    Attributes
    ----------
    label
        Title of the column of names: the rows are videos, objects (``camel_1``) or classes.
    total
        Name of the last row, which has the means.
    titles
        Titles by metric, where they are not the official names.
    percent
        Whether the table has percentages of metrics that are shares.
    """

    label: str = "Video"
    total: str = "mean"
    titles: Mapping[str, str] = field(default_factory=dict)
    percent: bool = False

    def read(self, text: str) -> str:
        """Return a cell's text in the metric's unit, digit by digit; empty if it is no number."""
        if not self.percent:
            return text
        return "" if as_number(text) is None else format(Decimal(text).scaleb(-2), "f")


def read_table(path: Path, needed: Sequence[str] = ()) -> Table:
    """Read a CSV file that has the needed columns.

    Raises ConfigError when it cannot be read, a row is longer or shorter than the header, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read table {path}: {error}") from error
    columns = rows[0] if rows else ()
    missing = [name for name in needed if name not in columns]
    if not columns or missing:
        raise ConfigError(f"table {path} lacks the columns {', '.join(missing)}: it is not what `ted` writes there")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(columns):
            raise ConfigError(f"table {path}: row {number} has {len(row)} cells, and the header {len(columns)}")
    return Table(name=path.stem, columns=columns, rows=tuple(rows[1:]))


def last_row(path: Path, table: Table, name: str) -> dict[str, str]:
    """Return a table's last row, by column; raises ConfigError unless its first cell is `name`."""
    if not table.rows or table.rows[-1][0] != name:
        raise ConfigError(f"table {path} does not end with the row {name!r} of `ted evaluate`")
    return table.records[-1]


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[str | float]], digits: int = 3) -> Path:
    """Write a table, with an empty cell for NaN, and counts (int) without decimals. Return its path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(
            [cell if isinstance(cell, str) else "" if math.isnan(cell) else _number(cell, digits) for cell in row]
        )
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def write_table(path: Path, header: Sequence[str], rows: Mapping[str, Sequence[float]]) -> Path:
    """Write a table whose rows have names, with four decimals. Return its path."""
    return write_csv(path, header, ((name, *values) for name, values in rows.items()), digits=4)


def text_table(header: Sequence[str], rows: Iterable[tuple[str, Sequence[float]]], digits: int = 3) -> list[str]:
    """Return a table's lines: a column of names, and right-aligned columns of numbers; a dash for NaN."""
    cells = [
        (name, ["-" if math.isnan(value) else _number(value, digits) for value in values]) for name, values in rows
    ]
    first = max(len(name) for name in (header[0], *(name for name, _ in cells)))
    widths = [max(map(len, column)) for column in zip(header[1:], *(texts for _, texts in cells), strict=True)]
    return [
        "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(texts, widths, strict=True))])
        for name, texts in [(header[0], header[1:]), *cells]
    ]


def _number(value: float, digits: int) -> str:
    """Return a number as tables show it: whole numbers without decimals."""
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def mean_values(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each metric over the videos or objects that have a value; None if none has."""
    means: dict[str, float | None] = {}
    for name in rows[0]:
        values = [value for row in rows if (value := row[name]) is not None]
        means[name] = sum(values) / len(values) if values else None
    return means


def known_value(value: float | None) -> float | None:
    """Return the value; None for NaN."""
    return None if value is None or math.isnan(value) else value


def as_number(text: str) -> float | None:
    """Return the number in a cell; None for other text, and for numbers that are not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def known_mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of values; None if there is none, or any is None."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def video_means(objects: Mapping[str, float | None], *, skip: bool = False) -> dict[str, float | None]:
    """Return each video's mean over its objects, which are named ``video_number``.

    If an object has no value, neither has its video; with `skip`, the mean is taken over the other objects.
    """
    found: dict[str, list[float | None]] = {}
    for name, value in objects.items():
        found.setdefault(name.rpartition("_")[0] or name, []).append(value)
    return {
        video: known_mean([value for value in values if value is not None] if skip else values)
        for video, values in found.items()
    }
