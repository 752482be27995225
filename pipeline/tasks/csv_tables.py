"""Tables as they lie in folders of results: every cell as the text that it is."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...store.errors import ConfigError

__all__ = ["Table", "read_table"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes
    ----------
    name
        Of the file, without its suffix.
    columns
        Titles.
    rows
        Texts; each row as long as there are columns.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def records(self) -> list[dict[str, str]]:
        """The rows, by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def read_table(path: Path, needed: Sequence[str] = ()) -> Table:
    """Read a CSV file.

    Parameters
    ----------
    path
        The file.
    needed
        Columns that it must have.

    Raises
    ------
    ConfigError
        When it cannot be read, has rows of other lengths than its header, or lacks a column.
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
