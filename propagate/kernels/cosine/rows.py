"""Engine for GPUs: few large operations over blocks of grid rows.

A GPU multiplies far faster than a host can start operations. So one product of each part compares the queries of a
block of rows with every cell in the rows that their windows reach, in all frames at once, and cells outside the windows
are masked. Of each query, a fixed number of segments with the largest maxima is read, and a fixed number of their cells
is listed for each fusion. Both numbers are checked: the largest similarity that is not listed must lie below the
threshold of candidates. Queries that fail the check are searched again: all cells in their windows, in float32.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ...transfer import on_device
from ..candidates import Candidates, rows_of
from ..window import inside_window
from .admission import Listed, passing, stacked
from .keys import SEGMENT
from .precision import FLOAT32, Precision, exact_products
from .search import Search, combined, distinct

# Maximum number of similarities in memory: of a single table, and of several, whose selection needs more memory.
_BUDGET, _BUDGET_OF_SEVERAL = 10 * 2**24, 2**27
# Maximum number of float32 values in memory in other steps.
_AT_ONCE = 2**25
# Maximum number of bounds of several fusions in memory, which are selected together.
_BOUNDS = 5 * 2**24
# Maximum number of values of queries and of keys that are gathered for exact cosines.
_GATHERED = 5 * 2**24
# Entry of the tables outside of windows, and a bound of the others: shifted cosines lie in [-2, 2].
_OUTSIDE, _LEAST = -4.0, -3.0


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A block of rows: ranges of its queries, of the cells that their windows reach, and of the segments of these."""

    queries: range
    cells: range
    segments: range

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries and of segments."""
        return len(self.queries), len(self.segments)


@dataclass(frozen=True, kw_only=True)
class _Portion:
    """Fusions with the same context.

    Attributes
    ----------
    positions
        The positions of their context.
    slots
        (position,): their slots; None for all slots in their order.
    scales
        (fusion, table), float32: the scales of the tables.
    factors
        (fusion, term x table), of the tables' type: numbers that sum to the scales. Products in half precision are sums
        in float32, so one with these is rounded once.
    at_once
        Maximum number of fusions whose bounds fit in memory.
    """

    positions: tuple[int, ...]
    slots: torch.Tensor | None
    scales: torch.Tensor
    factors: torch.Tensor
    at_once: int


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Segments that were read of some queries, for the fusions of a portion.

    Attributes
    ----------
    index
        (fusion, query, group, segment), int64: index into (frame, segment of the block).
    values
        (table, fusion, query, group, segment, cell): their entries.
    rest
        (fusion, query, group), of the tables' type: the largest similarity in all other segments is at most this.
    """

    index: torch.Tensor
    values: torch.Tensor
    rest: torch.Tensor


class RowSearch(Search):
    """Search block by block: one product a part, then selection of fixed size, checked at the end."""

    def run(self, budget: int | None = None) -> Candidates:
        """Find the candidates of all pixels; `budget` determines the number of rows in a block."""
        # Segments that are read of a query, and cells that are listed. Searching a query again costs far more.
        self._count = 12 * self.spec.top_k + 8 if self.single else 4 * self.spec.top_k + 24
        precision = self.precision()
        blocks = self._blocks(budget or (_BUDGET if self.single else _BUDGET_OF_SEVERAL))
        size = max(math.prod(block.shape) for block in blocks)
        self._portions = [*self._portions_of(size, precision.dtype)]
        tables, shift = self.tables(precision)
        self._operands = [
            [(query.expand(len(self.order), -1, -1), keys) for query, keys in operands] for operands in tables
        ]
        with exact_products():
            lists = [*self._listed(blocks, precision)]
            sources, values = stacked([listed for listed, _ in lists])
            sources, values = distinct(sources, values, len(self.table_scales) * len(self._portions))
            cosines = self._known_cosines(sources)
            failed = self.wrong(values, shift, cosines, sources, precision)
            again = (failed | ~_cat([sure for _, sure in lists], 0)).nonzero()[:, 0]
            if len(again):
                joined = stacked([(sources, cosines), self._searched(again)])
                rows = torch.arange(len(sources), device=self.device)
                rows[again] = torch.arange(len(again), device=self.device) + len(sources)
                sources, cosines = joined[0][rows], joined[1][:, rows]
        return self.best(sources, cosines)

    def _known_cosines(self, sources: torch.Tensor) -> torch.Tensor:
        """Return `cosines` of all queries; few slots of the longest rows are filled, and only these are computed."""
        query, column = (sources >= 0).nonzero(as_tuple=True)
        step = _GATHERED // max(part.shape[-1] for part in self.query)
        steps = zip(torch.split(query, step), torch.split(sources[query, column][:, None], step), strict=True)
        found = _cat([self.cosines(*some) for some in steps], 1)[..., 0]
        cosines = found.new_zeros((len(found), *sources.shape))
        cosines[:, query, column] = found
        return cosines

    def _portions_of(self, size: int, dtype: torch.dtype) -> Iterator[_Portion]:
        """Divide the fusions into portions that share a context; `size` is that of the largest block."""
        wanted: dict[tuple[int, ...], list[tuple[float, ...]]] = {}
        for parts, groups in zip(self.scales, self.groups, strict=True):
            own = wanted.setdefault(tuple(position for group in groups for position in group), [])
            if self.table_scales[parts] not in own:
                own.append(self.table_scales[parts])
        wanted.pop((), None)
        for positions, every in wanted.items():
            some = [self.slots[position] for position in positions] if len(positions) < len(self.order) else None
            scales = on_device(every, self.device)
            yield _Portion(
                positions=positions,
                slots=None if some is None else on_device(some, self.device),
                scales=scales,
                factors=_rounded(scales, dtype),
                at_once=max(1, _BOUNDS // (size * len(positions))),
            )

    def _blocks(self, budget: int) -> list[_Block]:
        """Cut the rows of the grid into the fewest blocks of equal height whose similarities fit in memory."""
        (height, width), tables = self.grid, 1 if self.single else len(self.query)
        capacity = len(self.keys[0].exact)  # rather than the frames of this context, so that all frames share `memo`

        def size(rows: int) -> int:
            return rows * width * min(height, rows + 2 * self.radius) * width * capacity * tables

        rows = next((rows for rows in range(height, 0, -1) if size(rows) <= budget), 1)
        rows = -(-height // -(-height // rows))
        blocks = []
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            first = max(0, top - self.radius) * width // SEGMENT
            last = -(-min(height, bottom + self.radius) * width // SEGMENT)
            blocks.append(
                _Block(
                    queries=range(top * width, bottom * width),
                    cells=range(first * SEGMENT, last * SEGMENT),
                    segments=range(first, last),
                )
            )
        return blocks

    def _once(self, key: Hashable, make: Any) -> Any:
        """Return a value that depends on the grid and the window alone; it is computed once for all frames."""
        key = (key, self.radius, self.circle)
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def _inside(self, queries: slice | torch.Tensor, cells: slice) -> torch.Tensor:
        """Return which cells are in the windows of queries: (query, cell), bool."""
        index = torch.arange(self.keys[0].cells, device=self.device, dtype=torch.int32)
        y, x = index // self.grid[1], index % self.grid[1]
        y[self.grid[0] * self.grid[1] :] = 2**14  # padding is far from all queries
        dy, dx = y[queries, None] - y[cells], x[queries, None] - x[cells]
        if self.circle is not None:
            return inside_window(dy, dx, self.circle, "circle")
        return inside_window(dy, dx, self.radius, "square")

    def _listed(self, blocks: Sequence[_Block], precision: Precision) -> Iterator[tuple[Listed, torch.Tensor]]:
        """Yield sources of successive queries with their entries in the tables, and which queries are certain."""
        held: list[tuple[_Block, list[_Read]]] = []
        size = 0
        for block in blocks:
            reads = self._read(block, precision)
            more = sum(read.values.numel() for read in reads)
            # Blocks at the border of a small grid may have fewer segments to read.
            if held and (size + more > _AT_ONCE or _counts(reads) != _counts(held[0][1])):
                yield self._chosen(held, precision)
                held, size = [], 0
            held.append((block, reads))
            size += more
        yield self._chosen(held, precision)

    def _read(self, block: _Block, precision: Precision) -> list[_Read]:
        """Multiply the queries of a block, and read the segments that may hold the best sources of each portion."""
        frames, (queries, segments) = len(self.order), block.shape
        here = slice(block.queries.start, block.queries.stop)
        cells = slice(block.cells.start, block.cells.stop)
        outside = self._once(block, lambda: ~self._inside(here, cells)[:, None])
        tables = (len(self._operands),) if len(self._operands) > 1 else ()
        shape = *tables, queries, frames, segments * SEGMENT
        products = torch.empty(shape, dtype=precision.dtype, device=self.device)
        for operands, product in zip(self._operands, products if tables else [products], strict=True):
            by_frame = product.transpose(0, 1)
            for term, (query, keys) in enumerate(operands):
                by_frame.baddbmm_(query[:, here], keys(cells).mT, beta=min(term, 1))
        products = products.masked_fill_(outside, _OUTSIDE).view(-1, SEGMENT)
        maxima = products.amax(1)
        return [self._read_some(products, maxima, block, portion) for portion in self._portions]

    def _read_some(self, products: torch.Tensor, maxima: torch.Tensor, block: _Block, portion: _Portion) -> _Read:
        """Read a portion's segments in `products`, (table x query x frame x segment, cell of the segment)."""
        tables, frames, (queries, segments) = len(self._operands), len(self.order), block.shape
        if portion.slots is not None:
            maxima = maxima.view(tables, queries, frames, segments)[:, :, portion.slots]
        groups = len(portion.positions) if self.spec.per_frame else 1
        shape = -1, queries, groups, len(portion.positions) * segments // groups
        count, found = min(self._count, shape[-1]), []
        if tables == 1:
            found.append(maxima.view(shape).topk(count, sorted=False))
        else:
            maxima = _cat([maxima.reshape(tables, -1)] * (portion.factors.shape[1] // tables), 0)
            for factors in torch.split(portion.factors, portion.at_once):
                found.append((factors @ maxima).view(shape).topk(count, sorted=False))
        bound, index = (_cat([*some], 0) for some in zip(*found, strict=True))
        if groups > 1:
            index = index + torch.arange(groups, device=self.device)[:, None] * segments
        if portion.slots is not None:
            index = portion.slots[index // segments] * segments + index % segments
        first = self._once(
            (tables, queries, frames, segments),
            lambda: torch.arange(tables * queries, device=self.device).view(tables, 1, -1, 1, 1) * (frames * segments),
        )
        rest = torch.full_like(bound[..., 0], _OUTSIDE) if count == shape[-1] else bound.amin(-1)
        return _Read(index=index, values=functional.embedding(index + first, products), rest=rest)

    def _chosen(
        self, held: Sequence[tuple[_Block, Sequence[_Read]]], precision: Precision
    ) -> tuple[Listed, torch.Tensor]:
        """List the best cells of the segments that were read of successive blocks."""
        top_k, blocks = self.spec.top_k, [block for block, _ in held]

        def by_query(values: list[int]) -> torch.Tensor:
            sizes = torch.tensor([block.shape[0] for block in blocks])
            return torch.tensor(values).repeat_interleave(sizes)[:, None, None].to(self.device)

        first = self._once((*blocks, "first"), lambda: by_query([block.segments.start for block in blocks]))
        count = self._once((*blocks, "count"), lambda: by_query([block.shape[1] for block in blocks]))
        starts = self.order * (self.grid[0] * self.grid[1])
        lists, certain = [], []
        for number, portion in enumerate(self._portions):
            index = _cat([reads[number].index for _, reads in held], 1)
            rest = _cat([reads[number].rest for _, reads in held], 1).float()
            values = _cat([reads[number].values for _, reads in held], 2).float().flatten(-2)
            tables = len(values)
            similarity = values[0]
            if tables > 1:
                rest = rest + precision.rounding * rest.abs()  # sums were rounded
                similarity = similarity * portion.scales[:, 0, None, None, None]
                for table, scales in zip(values[1:], portion.scales.T[1:, :, None, None, None], strict=True):
                    similarity.addcmul_(table, scales)
            score, member = similarity.topk(min(self._count, similarity.shape[-1]))
            if score.shape[-1] < similarity.shape[-1]:
                rest = torch.maximum(rest, score[..., -1])
            threshold = torch.full_like(rest, _LEAST)
            if score.shape[-1] >= top_k:
                kth = score[..., top_k - 1]
                threshold = (kth - 2 * precision.bound(kth)).clamp_(min=_LEAST)
            certain.append((rest < threshold).all(2).all(0))
            segment = starts[index // count] + (index % count + first) * SEGMENT
            sources = segment.gather(-1, member // SEGMENT) + member % SEGMENT
            sources.masked_fill_(score < threshold[..., None], -1)
            values = values.gather(-1, member.expand(tables, *member.shape))
            lists.append((sources.transpose(0, 1).flatten(1), values.transpose(1, 2).flatten(2)))
        sources, values = (_cat([*some], -1) for some in zip(*lists, strict=True))
        return (sources, values), torch.stack(certain).all(0) if len(certain) > 1 else certain[0]

    def _searched(self, queries: torch.Tensor) -> Listed:
        """Return the candidates of some queries among all cells in their windows, and their cosines."""
        most = max(len(self.query), *(len(portion.scales) for portion in self._portions))
        step, precision = max(1, _AT_ONCE // (len(self.order) * self.keys[0].cells * most)), FLOAT32
        found: list[Listed] = []
        for some in torch.split(queries, step):
            listed = self._searched_at_once(some, precision)
            while listed is None:
                precision = precision.wider()
                listed = self._searched_at_once(some, precision)
            found.append(listed)
        return stacked(found)

    def _searched_at_once(self, queries: torch.Tensor, precision: Precision) -> Listed | None:
        """Return candidates and cosines; None if an error of float32 products exceeds its bound."""
        cells, positions = self.keys[0].cells, sorted(self.slots)
        tables, shift = self.tables(FLOAT32)
        at = on_device(positions, self.device)
        slots = on_device([self.slots[position] for position in positions], self.device)
        source = at[:, None] * (self.grid[0] * self.grid[1]) + torch.arange(cells, device=self.device)
        values = []
        for operands in tables:
            terms = [query[queries] @ keys(slice(cells)).mT for query, keys in operands]
            values.append(sum(terms[1:], terms[0])[slots].transpose(0, 1).flatten(1))
        entries = torch.stack(values)
        inside = self._inside(queries, slice(cells)).repeat(1, len(positions))
        chosen, known = torch.zeros_like(inside), source.flatten().expand_as(inside)
        for portion in self._portions:
            for group in [[at] for at in portion.positions] if self.spec.per_frame else [portion.positions]:
                among = inside & torch.isin(at, on_device(group, self.device)).repeat_interleave(cells)
                similarity = combined(entries, portion.scales).masked_fill_(~among, -torch.inf)
                chosen |= passing(similarity, known, self.spec.top_k, precision).any(0)
        query, column = chosen.nonzero(as_tuple=True)
        sources, entries = rows_of(query, source.flatten()[column], entries[:, query, column], len(queries))
        cosines = self.cosines(queries, sources)
        wrong = self.wrong(entries, shift[:, queries], cosines, sources, precision)
        return None if bool(wrong.any()) else (sources, cosines)


def _counts(reads: Sequence[_Read]) -> list[int]:
    return [read.index.shape[-1] for read in reads]


def _rounded(scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return numbers of a type that sum to scales, (fusion, table), to float32's precision: (fusion, term x table)."""
    terms = [scales.to(dtype)]
    while len(terms) * -math.log2(torch.finfo(dtype).eps) < 20:
        terms.append((scales - sum(term.float() for term in terms)).to(dtype))
    return torch.cat(terms, 1)


def _cat(tensors: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    return torch.cat(list(tensors), dim) if len(tensors) > 1 else tensors[0]
