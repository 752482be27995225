"""Tiles of queries, and the boxes of keys that their windows cover."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Rows of keys in a segment. The search first compares only the maximum over each column of keys in a segment.
SEGMENT_ROWS = 8

# Overhead of one product (one row of keys of every frame with the queries around it), measured on two cores: reading
# its keys costs as much as this number of queries, and calls cost this number of multiply-adds.
_READ_COST = 64
_CALL_COST = 3_000_000

_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle of queries, and the smallest box of keys that contains their square windows, clipped to the grid."""

    rows: range
    columns: range
    key_rows: range
    key_columns: range
    radius: int

    @property
    def queries(self) -> int:
        """Number of queries."""
        return len(self.rows) * len(self.columns)

    @property
    def segments(self) -> int:
        """Number of segments of the rows of keys; the last one may be shorter."""
        return -(-len(self.key_rows) // SEGMENT_ROWS)

    def seen_from(self, key_row: int) -> range:
        """Return the rows of queries whose windows contain a row of keys; not empty for any of `key_rows`."""
        return range(max(self.rows.start, key_row - self.radius), min(self.rows.stop, key_row + self.radius + 1))

    @property
    def row_pairs(self) -> int:
        """Number of pairs of a row of keys and a row of queries whose windows contain it."""
        return sum(len(self.seen_from(key_row)) for key_row in self.key_rows)

    def products(self, frames: int) -> int:
        """Return the number of similarities of the tile, the size of its buffer."""
        return frames * len(self.key_columns) * len(self.columns) * self.row_pairs


def plan_tiles(grid: tuple[int, int], radius: int, *, frames: int, channels: int, budget: int) -> list[Tile]:
    """Cut a grid into the cheapest tiles: narrow tiles waste few products, wide tiles read keys less often.

    A row of keys is multiplied with exactly the rows of queries whose windows contain it, so tall tiles waste no
    products; memory limits their height: a tile has at most `budget` similarities, or a single query. Tiles are listed
    row by row; every query is in exactly one.
    """
    depth = frames * channels
    rows_of = [(height, _row_sums(grid[0], height, radius)) for height in _lengths(grid[0])]
    columns_of = [(width, _column_sums(grid[1], width, radius)) for width in _lengths(grid[1])]
    best: tuple[float, int, int] | None = None
    for height, (pairs, key_rows, most_pairs) in rows_of:
        for width, (products, key_columns, most_products) in columns_of:
            if frames * most_pairs * most_products > budget:
                continue
            cost = depth * (pairs * products + _READ_COST * key_rows * key_columns)
            cost += _CALL_COST * key_rows * -(-grid[1] // width)
            if best is None or cost < best[0]:
                best = cost, height, width
    _, height, width = best or (0, 1, 1)
    return [
        Tile(rows=rows, columns=columns, key_rows=key_rows, key_columns=key_columns, radius=radius)
        for rows, key_rows in _spans(grid[0], height, radius)
        for columns, key_columns in _spans(grid[1], width, radius)
    ]


def _lengths(size: int) -> Sequence[int]:
    return [length for length in _LENGTHS if length < size] + [size]


def _spans(size: int, length: int, radius: int) -> list[tuple[range, range]]:
    """Cut an axis into spans of queries, each with the keys in their windows."""
    starts = range(0, size, length)
    spans = [range(start, min(start + length, size)) for start in starts]
    return [(span, range(max(0, span.start - radius), min(size, span.stop + radius))) for span in spans]


def _row_sums(size: int, length: int, radius: int) -> tuple[int, int, int]:
    """Return totals of row pairs and of rows of keys over all spans, and the maximum of row pairs in a span."""
    spans = _spans(size, length, radius)
    window = [min(size, row + radius + 1) - max(0, row - radius) for row in range(size)]
    pairs = [sum(window[queries.start : queries.stop]) for queries, _ in spans]
    return sum(pairs), sum(len(keys) for _, keys in spans), max(pairs)


def _column_sums(size: int, length: int, radius: int) -> tuple[int, int, int]:
    """Return totals of products and of columns of keys over all spans, and the maximum of products in a span."""
    spans = _spans(size, length, radius)
    products = [len(queries) * len(keys) for queries, keys in spans]
    return sum(products), sum(len(keys) for _, keys in spans), max(products)
