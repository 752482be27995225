"""Similarities of a tile: every query with the keys in its window, and with few others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from .search import Operand
from .tiles import SEGMENT_ROWS, Tile


@dataclass(frozen=True, kw_only=True)
class Located:
    """Positions of the keys in some segments.

    Attributes
    ----------
    frame, x
        (...), int64: frame and column of each segment in the operands.
    y
        (..., row of the segment), int64: row of each key.
    address
        (..., row of the segment): index into the tables' buffers; -1 for keys outside the query's window.
    """

    frame: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    address: torch.Tensor


class TileScores:
    """Similarities of a tile's queries, in one or several tables, which are sums of the products of operands.

    A table is stored in its flat buffer as one slab for each row of keys, (frame, key x, query y and x), with the
    queries whose windows contain the row. The maxima over the rows of each segment, (segment, frame, key x, query y,
    query x), are computed while a slab is in the processor's cache; -inf if no key of the segment is in the window.

    `locate` excludes keys at the Euclidean distance `circle` or more, in cells. Maxima still include them.
    """

    def __init__(
        self,
        tile: Tile,
        tables: Sequence[Sequence[Operand]],
        frames: int,
        grid_width: int,
        buffers: Sequence[torch.Tensor],
        circle: int | None = None,
    ) -> None:
        self.tile = tile
        self.circle = circle
        self.frames = frames
        self.grid_width = grid_width
        self.buffers = buffers
        self._sizes = [len(tile.seen_from(row)) * len(tile.columns) for row in tile.key_rows]
        self.maxima = [self._fill(operands, buffer) for operands, buffer in zip(tables, buffers, strict=True)]

    def _fill(self, operands: Sequence[Operand], buffer: torch.Tensor) -> torch.Tensor:
        tile = self.tile
        height, width, depth = len(tile.rows), len(tile.columns), len(tile.key_columns)
        sides = []
        for queries, keys in operands:
            on_grid = queries.view(-1, self.grid_width, queries.shape[-1])
            some = on_grid[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
            sides.append((some.flatten(0, 1).T.contiguous(), keys))
        maxima = buffer.new_full((tile.segments, self.frames, depth, height * width), -torch.inf)
        start = 0
        for number, row in enumerate(tile.key_rows):
            seen = tile.seen_from(row)
            here = slice((seen.start - tile.rows.start) * width, (seen.stop - tile.rows.start) * width)
            size = self.frames * depth * self._sizes[number]
            slab = buffer[start : start + size].view(self.frames, depth, self._sizes[number])
            start += size
            flat = slab.flatten(0, 1)
            cells = slice(row * self.grid_width + tile.key_columns.start, row * self.grid_width + tile.key_columns.stop)
            for term, (queries, keys) in enumerate(sides):
                # One product of all frames, keys on the left. Batched products, or queries on the left, are 10 to 30 %
                # slower with MKL, which is more than the copy of the keys costs.
                rows = keys(cells).flatten(0, 1)
                torch.addmm(flat, rows, queries[:, here], beta=min(term, 1), out=flat)
            best = maxima[number // SEGMENT_ROWS, :, :, here]
            torch.maximum(best, slab, out=best)
        return maxima.view(tile.segments, self.frames, depth, height, width)

    def segment_bounds(self, frames: Sequence[int] | None = None) -> list[torch.Tensor]:
        """Return the largest similarity of each query with the keys of each segment, for each table.

        (query, segment x frame x key x), float32; -inf outside the window. `frames` are searched, by default all.
        Segments are counted from the first one in the window of the query's row, as in `locate`.
        """
        first, count = self._reach
        segments = first[:, None] + torch.arange(count, device=first.device)  # (query y, segment)
        beyond = segments >= self.tile.segments
        rows = torch.arange(len(first), device=first.device)[:, None]
        bounds = []
        for maxima in self.maxima:
            some = maxima if frames is None else maxima[:, list(frames)]
            # (query y, segment, frame, key x, query x)
            bound = some[segments.clamp(max=self.tile.segments - 1), :, :, rows]
            bound.masked_fill_(beyond[:, :, None, None, None] | ~self._in_columns, -torch.inf)
            bounds.append(bound.permute(0, 4, 1, 2, 3).float().flatten(2).flatten(0, 1))
        return bounds

    def locate(self, queries: torch.Tensor, segments: torch.Tensor, frames: Sequence[int] | None = None) -> "Located":
        """Find the keys of segments: indices into the last axis of `segment_bounds` for the same frames, (...)."""
        tile = self.tile
        depth, number = len(tile.key_columns), self.frames if frames is None else len(frames)
        key_x, frame = segments % depth, segments // depth % number
        if frames is not None:
            frame = torch.as_tensor(frames, device=segments.device)[frame]
        row, column = queries // len(tile.columns), queries % len(tile.columns)
        segment = segments // (depth * number) + self._reach[0][row]
        key_y = segment[..., None] * SEGMENT_ROWS + torch.arange(SEGMENT_ROWS, device=segments.device)
        known = key_y.clamp(max=len(tile.key_rows) - 1)
        start, first, size = self._slabs
        # The query's offset in the slab of the key's row. If it is outside the slab, the key is not in the window.
        among = (row[..., None] - first[known]) * len(tile.columns)
        inside = (key_y == known) & (among >= 0) & (among < size[known])
        inside &= self._in_columns[key_x, column][..., None]
        if self.circle is not None:
            dy = known + tile.key_rows.start - (row + tile.rows.start)[..., None]
            dx = (key_x + tile.key_columns.start - column - tile.columns.start)[..., None]
            inside &= dy * dy + dx * dx < self.circle**2
        address = start[known] + (frame * depth + key_x)[..., None] * size[known] + among + column[..., None]
        return Located(
            frame=frame,
            y=known + tile.key_rows.start,
            x=key_x + tile.key_columns.start,
            address=address.masked_fill_(~inside, -1),
        )

    def read(self, address: torch.Tensor) -> torch.Tensor:
        """Return the tables' entries: (table, ...), float32; undefined where the address is -1."""
        known = address.clamp(min=0)
        return torch.stack([buffer.take(known).float() for buffer in self.buffers])

    @cached_property
    def _reach(self) -> tuple[torch.Tensor, int]:
        """First segment in the window of each row of queries, and maximum number of segments in a window."""
        tile, spans = self.tile, []
        for row in tile.rows:
            first = max(row - tile.radius, tile.key_rows.start) - tile.key_rows.start
            last = min(row + tile.radius, tile.key_rows.stop - 1) - tile.key_rows.start
            spans.append((first // SEGMENT_ROWS, last // SEGMENT_ROWS))
        starts = torch.tensor([first for first, _ in spans], device=self.buffers[0].device)
        return starts, max(last - first + 1 for first, last in spans)

    @cached_property
    def _in_columns(self) -> torch.Tensor:
        """Mask of the columns of keys in the window of each column of queries: (key x, query x), bool."""
        tile, device = self.tile, self.buffers[0].device
        keys = torch.arange(tile.key_columns.start, tile.key_columns.stop, device=device)
        queries = torch.arange(tile.columns.start, tile.columns.stop, device=device)
        return (keys[:, None] - queries).abs() <= tile.radius

    @cached_property
    def _slabs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Start, first row of queries and number of queries of the slab of each row of keys."""
        tile, device = self.tile, self.buffers[0].device
        sizes = torch.tensor(self._sizes, device=device)
        ends = (sizes * (self.frames * len(tile.key_columns))).cumsum(0)
        firsts = [tile.seen_from(row).start - tile.rows.start for row in tile.key_rows]
        return ends - sizes * (self.frames * len(tile.key_columns)), torch.tensor(firsts, device=device), sizes
