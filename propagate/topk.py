"""Choosing each query's k best sources out of a tile's block of similarities."""

import torch

from .windows import Tile

__all__ = ["best_sources"]

# Where everything ties, all of a window's keys are candidates, with 64-bit positions: only so many queries at a time.
_TIED_AT_ONCE = 32


def best_sources(
    block: torch.Tensor, tile: Tile, radius: int, top_k: int, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick, for each query, the k largest similarities inside its window, jointly over all context frames.

    Sources whose similarity lies within `tolerance` of the k-th largest count as tied with it when the choice depends
    on it (the next one is as close); the places left are then filled in the order of (context frame, y, x). Without a
    tolerance, equal sources would be told apart by the last bit of a matrix product, which depends on their place in
    it.

    Parameters
    ----------
    block
        Similarities (frame, query y, query x, key y, key x), float32, of the tile's queries and box of keys.
    tile
        Where the block lies in the grid.
    radius
        Half the side of the square window.
    top_k
        Sources to keep, at least 1.
    tolerance
        Difference up to which similarities tie.

    Returns
    -------
    positions
        (query, k): flat indices into the block's (frame, key y, key x), ordered by falling similarity, equal ones by
        position. k is `top_k`, or less where the block has fewer keys.
    values
        (query, k): their similarities; -inf in places beyond what a query's window holds.
    """
    frames, _, _, height, width = block.shape
    flat = block.view(frames, tile.queries, height, width)
    in_rows, in_columns = _windows(block, tile, radius)
    maxima = _column_maxima(block, tile, in_columns, radius)

    # The k + 1 columns of keys with the largest maxima hold k + 1 of the largest keys: far fewer to sort.
    columns = maxima.topk(min(top_k + 1, maxima.shape[1]), sorted=False).indices
    queries = torch.arange(tile.queries, device=block.device)
    candidates, places = _gather(flat, queries, columns, in_rows, in_columns)
    values, order = candidates.topk(min(top_k + 1, candidates.shape[1]))
    positions = places.gather(1, order)
    if values.shape[1] > top_k:
        tied = (values[:, top_k - 1] - values[:, top_k] <= tolerance).nonzero()[:, 0]
        values, positions = values[:, :top_k].clone(), positions[:, :top_k].clone()
        for start in range(0, len(tied), _TIED_AT_ONCE):
            some = tied[start : start + _TIED_AT_ONCE]
            kth = values[some, -1:]
            rival_columns = int((maxima[some] >= kth - tolerance).sum(1).max())
            columns = maxima[some].topk(rival_columns, sorted=False).indices
            candidates, places = _gather(flat, some, columns, in_rows, in_columns)
            order = _lowest_of_tied(candidates, places, kth, top_k, tolerance)
            values[some], positions[some] = candidates.gather(1, order), places.gather(1, order)

    order = positions.argsort(dim=1)
    values, positions = values.gather(1, order), positions.gather(1, order)
    order = values.argsort(dim=1, descending=True, stable=True)
    return positions.gather(1, order), values.gather(1, order)


def _windows(block: torch.Tensor, tile: Tile, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whether each query's window holds each row and each column of the box: (query, key y), (query, key x)."""

    def reach(queries: range, keys: range) -> torch.Tensor:
        where = [torch.arange(axis.start, axis.stop, device=block.device) for axis in (queries, keys)]
        return (where[0][:, None] - where[1]).abs() <= radius

    in_rows = reach(tile.rows, tile.key_rows).repeat_interleave(len(tile.columns), dim=0)
    in_columns = reach(tile.columns, tile.key_columns).repeat(len(tile.rows), 1)
    return in_rows, in_columns


def _column_maxima(block: torch.Tensor, tile: Tile, in_columns: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the largest similarity of each column of keys inside each window: (query, frame x key x)."""
    frames, _, query_width, _, width = block.shape
    maxima = block.new_empty(len(tile.rows), query_width, frames, width)
    for i, row in enumerate(tile.rows):
        first = max(row - radius, tile.key_rows.start) - tile.key_rows.start
        last = min(row + radius + 1, tile.key_rows.stop) - tile.key_rows.start
        maxima[i] = block[:, i, :, first:last].amax(-2).transpose(0, 1)
    return maxima.flatten(0, 1).masked_fill_(~in_columns[:, None, :], -torch.inf).flatten(1)


def _gather(
    flat: torch.Tensor, queries: torch.Tensor, columns: torch.Tensor, in_rows: torch.Tensor, in_columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what columns of keys hold for some queries, -inf outside of their windows, and where in the block.

    `columns` is (query, column), flat indices into (frame, key x); both results are (query, column x key y).
    """
    height, width = flat.shape[2:]
    frame, x = (columns // width)[:, :, None], (columns % width)[:, :, None]
    y = torch.arange(height, device=flat.device)
    valid = in_rows[queries][:, None, :] & in_columns[queries].gather(1, x[:, :, 0])[:, :, None]
    values = flat[frame, queries[:, None, None], y, x].masked_fill_(~valid, -torch.inf)
    return values.flatten(1), ((frame * height + y) * width + x).flatten(1)


def _lowest_of_tied(
    values: torch.Tensor, positions: torch.Tensor, kth: torch.Tensor, top_k: int, tolerance: float
) -> torch.Tensor:
    """Return where, per row, all values clearly above the k-th largest are, then the first ones that tie with it."""
    last = torch.iinfo(torch.int64).max
    rank = torch.where(values >= kth - tolerance, positions, last)
    rank = torch.where(values > kth + tolerance, -1, rank)
    return rank.topk(top_k, largest=False).indices
