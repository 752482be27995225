"""Tiles of a grid and the keys that the windows of their queries cover. Integers only."""

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Tile", "plan_tiles"]

# What a block costs beside its products, in multiply-adds (measured on two cores at 1152 channels): copying one
# channel of a key out of its frame, and the fixed work of one block of one frame.
_COPY_COST = 40
_BLOCK_COST = 5_000_000


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle of queries and the box of keys that their windows cover, clipped to the grid.

    Attributes
    ----------
    rows, columns
        The queries.
    key_rows, key_columns
        The smallest box that holds every window of the tile.
    """

    rows: range
    columns: range
    key_rows: range
    key_columns: range

    @property
    def queries(self) -> int:
        """Number of queries."""
        return len(self.rows) * len(self.columns)

    @property
    def keys(self) -> int:
        """Number of keys per context frame."""
        return len(self.key_rows) * len(self.key_columns)


def plan_tiles(grid: tuple[int, int], radius: int, *, frames: int, channels: int, budget: int) -> list[Tile]:
    """Cut a grid into the tiles that cost least: small ones waste few products, large ones copy keys less often.

    Parameters
    ----------
    grid
        (y, x), each at least 1.
    radius
        Half the side of the square window, at least 0.
    frames
        Context frames, at least 1.
    channels
        Channels of all parts together.
    budget
        Bytes that a tile's float32 block of similarities, (frame, query, key), may take. Where not even the block of a
        single query fits, tiles are single queries.

    Returns
    -------
    list of Tile
        Every query is in exactly one of them; row by row.
    """
    best_cost: float | None = None
    best: tuple[list[_Span], list[_Span]] = _cut(grid[0], grid[0], radius), _cut(grid[1], grid[1], radius)
    splits = [[_cut(size, count, radius) for count in _tile_counts(size)] for size in grid]
    columns_of = [(columns, *_sums(columns)) for columns in splits[1]]
    for rows in splits[0]:
        row_products, row_keys, row_peak = _sums(rows)
        for columns, column_products, column_keys, column_peak in columns_of:
            if 4 * frames * row_peak * column_peak > budget:
                continue
            cost = channels * (row_products * column_products + _COPY_COST * row_keys * column_keys)
            cost += _BLOCK_COST * len(rows) * len(columns)
            if best_cost is None or cost < best_cost:
                best_cost, best = cost, (rows, columns)
    return [
        Tile(rows=rows, columns=columns, key_rows=key_rows, key_columns=key_columns)
        for rows, key_rows in best[0]
        for columns, key_columns in best[1]
    ]


#: Queries of a tile along one axis, and the keys that they reach.
_Span = tuple[range, range]


def _tile_counts(size: int) -> list[int]:
    # Counts whose largest tile is the same differ little: one per tile length is enough.
    return sorted({-(-size // length) for length in range(1, size + 1)})


def _cut(size: int, count: int, radius: int) -> list[_Span]:
    edges = [i * size // count for i in range(count + 1)]
    return [
        (range(start, stop), range(max(0, start - radius), min(size, stop + radius))) for start, stop in pairwise(edges)
    ]


def _sums(spans: list[_Span]) -> tuple[int, int, int]:
    products = [len(queries) * len(keys) for queries, keys in spans]
    return sum(products), sum(len(keys) for _, keys in spans), max(products)
