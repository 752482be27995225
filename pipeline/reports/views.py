"""What the page's template fills in: tables of texts and numbers, and charts with the tables of their values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Cell", "ChartView", "Key", "Row", "TableView", "in_parts", "number", "row", "texts"]


@dataclass(frozen=True)
class Cell:
    """A cell: a text, or a number as it stands in its table, which is shown rounded."""

    text: str
    number: bool = False

    @property
    def shown(self) -> str:
        """What is to be read: of long numbers, three decimals."""
        if not self.number:
            return self.text
        if len(self.text.partition(".")[2]) <= 3 and "e" not in self.text:
            return self.text
        try:
            return f"{float(self.text):.3f}"
        except ValueError:
            return self.text


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row; the first cell names it."""

    cells: tuple[Cell, ...]
    control: bool = False


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A table. Its columns are those of numbers where the first row's cells are."""

    view_id: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(cell.number for cell in self.rows[0].cells) if self.rows else (False,) * len(self.columns)


@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a chart's legend."""

    picture: Markup
    name: str


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart: the picture, what tells its series apart, a remark, and its numbers."""

    title: str
    picture: Markup
    legend: tuple[Key, ...]
    remark: str
    table: TableView


def texts(*values: object) -> tuple[Cell, ...]:
    """Return cells of text."""
    return tuple(Cell(str(value)) for value in values)


def number(text: str) -> Cell:
    """Return a cell of a number, by its text in the tables of results."""
    return Cell(text, number=True)


def row(name: str, cells: Iterable[Cell], *, control: bool = False) -> Row:
    """Return a row by its name and what follows."""
    return Row(cells=(Cell(name), *cells), control=control)


def in_parts(items: Sequence[str], most: int) -> list[Sequence[str]]:
    """Divide a list into parts of at most so many."""
    return [items[start : start + most] for start in range(0, len(items), most)]
