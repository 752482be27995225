"""Exact search for the most similar sources under one or several fusions of cosines.

Matrix products compute the similarities of all sources in a window. Their last bits depend on the matrices' shapes, and
they may have low precision, so they only select candidates. The candidates are compared by cosines computed pair by
pair, whose bits depend only on the pair. So the result does not depend on tiles, workers, or other settings.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...context import positions_within
from ...slots import Slots
from ..base import ContextIndex
from ..candidates import Candidates, keep_best
from .admission import Admitted, ErrorBound, FusionQuery, TooManyCandidatesError, admit
from .pairs import pair_cosines
from .precision import FLOAT32, Precision, best_precision, exact_products
from .scores import Operand, TileScores
from .tiles import CALL_COST, Tile, plan_tiles

if TYPE_CHECKING:
    from ...spec import SearchSpec
    from .kernel import CosineKernel

__all__ = ["CosineIndex"]

#: Maximum number of similarities of a tile, over all tables. Larger tiles are slightly faster and take more memory.
DEFAULT_BUDGET = 2**23

# Multiply-adds that a GPU could do in the time of one kernel launch.
_GPU_CALL_COST = 500_000_000

# Extra channels of low-precision keys: two channels of ones, which multiply the queries' shifts, and padding for
# alignment.
_EXTRA = 8

_NOWHERE = torch.iinfo(torch.int64).max

UnitVectors = Sequence[torch.Tensor]


class CosineIndex(ContextIndex):
    """An index of a context's features, one tensor of all frames for each part.

    Parameters
    ----------
    spec
        The search.
    capacity
        Maximum number of frames in the index.
    precision
        Precision of the products that select candidates; it does not change the result. Default: the fastest one on the
        features' device.
    budget
        Maximum number of similarities in memory, which determines the size of tiles; it does not change the result.

    Attributes
    ----------
    parts
        One tensor per part, (slot, y, x, channel), float32, L2-normalised.
    low
        The same in low precision, with `_EXTRA` more channels; empty if products are computed in float32.
    """

    def __init__(
        self, spec: "SearchSpec", capacity: int, precision: Precision | None = None, budget: int = DEFAULT_BUDGET
    ) -> None:
        self.spec = spec
        self.parts: list[torch.Tensor] = []
        self.low: list[torch.Tensor] = []
        self._precision = precision
        self._budget = budget
        self._slots = Slots()
        self._capacity = capacity

    def keep(self, frames: Iterable[int]) -> None:
        """Drop all other frames."""
        self._slots.keep(frames)

    def add(self, frame: int, features: UnitVectors) -> None:
        """Add a frame: one tensor per part, (y, x, channel), float32, L2-normalised."""
        if not self.parts:
            self._allocate(features)
        slot = self._slots.put(frame)
        for part, values in zip(self.parts, features, strict=True):
            part[slot] = values
        for part, values in zip(self.low, features, strict=False):  # `low` is empty or has all parts
            part[slot, :, :, :-_EXTRA] = values

    def precision(self, device: torch.device) -> Precision:
        """Return the precision of the products."""
        if self._precision is None:
            self._precision = best_precision(device, torch.get_num_threads())
        return self._precision

    @torch.no_grad()
    def search(self, features: UnitVectors, context: Sequence[int], annotated: int) -> Candidates:
        """Find the k most similar sources of each pixel under each fusion; see `ContextIndex.search`.

        Between equally similar sources, the one with the lower (context frame, y, x) is preferred.
        """
        spec = self.spec
        slots = self._slots.of(context)
        within = [positions_within(len(context), annotated, fusion.context) for fusion in spec.fusions]
        reach = spec.radius - 1 if spec.window == "circle" else spec.radius
        circle = spec.radius if spec.window == "circle" else None
        everywhere = max(features[0].shape[:2])
        if spec.unrestricted_first:
            passes = [(range(annotated), everywhere, None), (range(annotated, len(context)), reach, circle)]
        else:
            passes = [(range(len(context)), reach, circle)]
        found, copies = [], {}
        for positions, radius, limit in passes:
            first = dict[int, int]()  # frame -> its first position in this pass
            for position in positions:
                copies[position] = first.setdefault(context[position], position)
            if first:
                groups = [[copies[at] for at in places if at in positions] for places in within]
                unique = {position: slots[position] for position in first.values()}
                found.append(self._pass(features, unique, groups, radius, limit))
        cells = features[0].shape[0] * features[0].shape[1]
        if len(found) == 1 and all(position == original for position, original in copies.items()):
            return found[0]
        sources, scores = _merged(found, copies, cells)
        return keep_best(sources, scores, spec.kernel.similarity, spec.fusions, self._groups(within), spec.top_k, cells)

    def _pass(
        self,
        features: UnitVectors,
        slots: dict[int, int],
        within: Sequence[Sequence[int]],
        radius: int,
        circle: int | None,
    ) -> Candidates:
        """Search some positions of the context, given with their slots, in windows of one radius."""
        parts, low = self.parts, self.low
        if 2 * len(slots) < len(self.parts[0]):  # do not multiply frames that are not searched
            rows = sorted(set(slots.values()))
            parts, low = [part[rows] for part in parts], [part[rows] for part in low]
            slots = {position: rows.index(slot) for position, slot in slots.items()}
        groups = self._groups([sorted(set(positions)) for positions in within])
        keys = _Keys(parts=parts, low=low, precision=self.precision(features[0].device))
        job = _Pass(query=features, keys=keys, slots=slots, spec=self.spec, groups=groups, radius=radius, circle=circle)
        return job.run(self._budget)

    def _groups(self, within: Sequence[Sequence[int]]) -> list[list[list[int]]]:
        """Return, for each fusion, the groups of positions that have a common top-k."""
        if self.spec.per_frame:
            return [[[position] for position in positions] for positions in within]
        return [[list(positions)] for positions in within]

    def _allocate(self, features: UnitVectors) -> None:
        self.parts = [values.new_zeros((self._capacity, *values.shape)) for values in features]
        precision = self.precision(features[0].device)
        if precision.is_low:
            for values in features:
                *grid, channels = values.shape
                low = values.new_zeros((self._capacity, *grid, channels + _EXTRA), dtype=precision.dtype)
                low[..., channels : channels + 2] = 1
                self.low.append(low)


@dataclass(frozen=True, kw_only=True)
class _Keys:
    parts: Sequence[torch.Tensor]
    low: Sequence[torch.Tensor]
    precision: Precision


class _Pass:
    """Search of one frame's sources in some frames of its context, in windows of one radius."""

    def __init__(
        self,
        *,
        query: UnitVectors,
        keys: _Keys,
        slots: dict[int, int],
        spec: "SearchSpec",
        groups: Sequence[Sequence[Sequence[int]]],
        radius: int,
        circle: int | None,
    ) -> None:
        self.query = query
        self.keys = keys
        self.slots = slots  # position in the context -> slot
        self.spec = spec
        self.kernel: CosineKernel = spec.kernel  # type: ignore[assignment]
        self.groups = groups
        self.radius = radius
        self.circle = circle
        self.grid = (query[0].shape[0], query[0].shape[1])
        device = query[0].device
        self.order = torch.full((max(slots.values()) + 1,), -1, device=device)  # slot -> position; -1 if unused
        self.slot_of = torch.full((max(slots) + 1,), 0, device=device)  # position -> slot
        for position, slot in slots.items():
            self.order[slot] = position
            self.slot_of[position] = slot

    def run(self, budget: int) -> Candidates:
        """Find the candidates of all pixels, tile by tile."""
        (height, width), device = self.grid, self.query[0].device
        tables = len(self.tables(FLOAT32)[0])
        tiles = plan_tiles(
            (height, width),
            self.radius,
            frames=self.order.shape[0],
            channels=sum(part.shape[-1] for part in self.query),
            budget=budget // tables,
            call_cost=CALL_COST if device.type == "cpu" else _GPU_CALL_COST,
        )
        precision = self.precision()
        size = max(tile.products(self.order.shape[0]) for tile in tiles)
        buffers = {precision.dtype: _buffers(tables, size, precision.dtype, device)}
        pixels = torch.arange(height * width, device=device).view(height, width)
        found: list[tuple[torch.Tensor, Candidates]] = []
        for tile in tiles:
            part: Candidates | None = None
            while part is None:
                if precision.dtype not in buffers:
                    buffers = {precision.dtype: _buffers(tables, size, precision.dtype, device)}
                part, precision = self.tile(tile, precision, buffers[precision.dtype])
            here = pixels[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
            found.append((here.flatten(), part))
        return _assembled(found, height * width)

    def precision(self) -> Precision:
        """Return the precision of the keys, with its error estimated from a sample of pairs."""
        wanted = self.keys.precision
        if not wanted.is_low:
            return wanted
        estimates = []
        for query, keys in zip(self.query, self.keys.parts, strict=True):
            flat = query.flatten(0, 1)
            step = max(1, flat.shape[0] // 1024)
            samples = flat[::step]
            last = [self.slots[position] for position in sorted(self.slots)[-4:]]
            theirs = torch.cat([keys[slot].flatten(0, 1)[::step] for slot in last])
            estimates.append(wanted.estimated(samples.repeat(len(theirs) // len(samples), 1), theirs))
        return max(estimates, key=lambda estimate: estimate.error)

    def tables(self, precision: Precision) -> tuple[list[list[Operand]], list[torch.Tensor | None]]:
        """Return each table's operands, and its shift, (y, x), which was subtracted from its scores.

        If all fusions have the same weights, there is one table of fused similarities; otherwise one for each part.
        """
        every = [self.kernel.scales(fusion) for fusion in self.spec.fusions]
        if all(scales == every[0] for scales in every):
            pairs = [self._operand(part, scale, precision) for part, scale in enumerate(every[0]) if scale > 0]
            shifts = [shift for _, shift in pairs if shift is not None]
            return [[operand for operand, _ in pairs]], [torch.stack(shifts).sum(0) if shifts else None]
        pairs = [self._operand(part, 1.0, precision) for part in range(len(self.query))]
        return [[operand] for operand, _ in pairs], [shift for _, shift in pairs]

    def _operand(self, part: int, scale: float, precision: Precision) -> tuple[Operand, torch.Tensor | None]:
        count = len(self.order)
        if not precision.is_low:
            return (self.query[part] * scale, self.keys.parts[part][:count]), None
        # Rounding errors are smaller near zero: shift the similarity of good sources there. The same cell in the last
        # frame is usually a good source.
        last = self.keys.parts[part][self.slots[max(self.slots)]]
        shift = (self.query[part] * last).sum(-1) * scale
        queries = _shifted(self.query[part] * scale, shift, precision.dtype)
        return (queries, self.keys.low[part][:count]), shift

    def tile(
        self, tile: Tile, precision: Precision, buffers: Sequence[torch.Tensor]
    ) -> tuple[Candidates | None, Precision]:
        """Find a tile's candidates; return None and the next precision to try if errors exceeded their bound."""
        tables, shifts = self.tables(precision)
        with exact_products():
            scores = TileScores(tile, tables, buffers, circle=self.circle)
        queries = []
        for fusion in self.spec.fusions:
            scales = self.kernel.scales(fusion)
            queries.append(
                FusionQuery(
                    scales=(1.0,) if len(tables) == 1 else scales,
                    error=ErrorBound(error=precision.error * sum(scales), rounding=precision.rounding),
                )
            )
        together: dict[tuple[int, ...], list[FusionQuery]] = {}
        for query, several in zip(queries, self.groups, strict=True):
            for positions in several:
                if positions:
                    together.setdefault(tuple(positions), []).append(query)
        try:
            pieces = [
                admit(scores, some, self.order, self.grid, self.spec.top_k, self._frames(positions))
                for positions, some in together.items()
            ]
        except TooManyCandidatesError:
            return None, precision.wider()
        sources, values = _union(pieces)
        here = (slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop))
        cosines = self._cosines([part[here].flatten(0, 1) for part in self.query], sources)
        shift = torch.stack([values.new_zeros(1, 1) if s is None else s[here].flatten()[:, None] for s in shifts])
        for fusion, query in zip(self.spec.fusions, queries, strict=True):
            off = (query.similarity(values + shift) - self.kernel.similarity(cosines, fusion)).abs()
            if bool(((off > query.error.of(query.similarity(values))) & (sources >= 0)).any()):
                return None, precision.wider()
        best = keep_best(
            sources,
            cosines,
            self.kernel.similarity,
            self.spec.fusions,
            self.groups,
            self.spec.top_k,
            self.grid[0] * self.grid[1],
        )
        return best, precision

    def _frames(self, positions: Sequence[int]) -> list[int] | None:
        """Return the slots of some positions; None for all slots."""
        slots = sorted(self.slots[position] for position in positions)
        return None if len(slots) == len(self.order) else slots

    def _cosines(self, queries: Sequence[torch.Tensor], sources: torch.Tensor) -> torch.Tensor:
        """Return the cosines, (part, query, c), of queries with their sources; 0 in empty slots."""
        cells = self.grid[0] * self.grid[1]
        known = sources.clamp(min=0)
        # Empty slots may map to a position that is not searched; their cosines are masked.
        slots = self.slot_of[torch.div(known, cells, rounding_mode="floor").clamp(max=len(self.slot_of) - 1)]
        where = slots * cells + known % cells
        cosines = [
            pair_cosines(query, keys.flatten(0, 2), where) for query, keys in zip(queries, self.keys.parts, strict=True)
        ]
        return torch.stack(cosines).masked_fill_(sources < 0, 0)


def _shifted(queries: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Add channels to queries (y, x, channel) that lower products with low-precision keys by a shift (y, x)."""
    high = shift.to(dtype)
    extra = queries.new_zeros((*queries.shape[:-1], _EXTRA))
    extra[..., 0] = -high.float()
    extra[..., 1] = high.float() - shift
    return torch.cat([queries, extra], dim=-1).to(dtype)


def _buffers(count: int, size: int, dtype: torch.dtype, device: torch.device) -> list[torch.Tensor]:
    return [torch.empty(size, dtype=dtype, device=device) for _ in range(count)]


def _union(pieces: Sequence[Admitted]) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge several lists of sources, (query, c): each source once, rising, -1 at the end; and their scores."""
    sources = torch.cat([piece.sources for piece in pieces], dim=1)
    return _sorted(sources, torch.cat([piece.scores for piece in pieces], dim=2), len(pieces))


def _sorted(sources: torch.Tensor, scores: torch.Tensor, lists: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort sources (query, c) of concatenated lists, drop repetitions, move -1 to the end; likewise their scores."""
    rank, order = sources.masked_fill(sources < 0, _NOWHERE).sort(dim=1)
    if lists > 1:  # keep the first occurrence of a source that is in several lists
        rank[:, 1:].masked_fill_(rank[:, 1:] == rank[:, :-1], _NOWHERE)
        rank, again = rank.sort(dim=1)
        order = order.gather(1, again)
    width = max(1, int((rank < _NOWHERE).sum(1).max()))
    rank, order = rank[:, :width], order[:, :width]
    return rank.masked_fill(rank == _NOWHERE, -1), scores.gather(2, order.expand(len(scores), -1, -1))


def _merged(found: Sequence[Candidates], copies: dict[int, int], cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the candidates of several passes, and repeat those of frames that occur several times in the context.

    Parameters
    ----------
    found
        Candidates of each pass.
    copies
        For each position in the context, the searched position with the same frame in the same pass.
    cells
        Number of cells of the grid.
    """
    sources = torch.cat([piece.sources for piece in found], dim=1)
    scores = torch.cat([piece.scores for piece in found], dim=2)
    position = torch.div(sources, cells, rounding_mode="floor")
    repeated = [(at, original) for at, original in copies.items() if at != original]
    more = [torch.where(position == original, sources + (at - original) * cells, -1) for at, original in repeated]
    return _sorted(torch.cat([sources, *more], dim=1), torch.cat([scores] * (1 + len(more)), dim=2), 1)


def _assembled(found: Sequence[tuple[torch.Tensor, Candidates]], pixels: int) -> Candidates:
    """Combine the candidates of all tiles, in the order of pixels."""
    first = found[0][1]
    width = max(part.sources.shape[1] for _, part in found)
    sources = first.sources.new_full((pixels, width), -1)
    scores = first.scores.new_zeros((len(first.scores), pixels, width))
    bounds = first.bounds.new_empty((len(first.bounds), pixels))
    for here, part in found:
        some = torch.arange(part.sources.shape[1], device=here.device)
        sources[here[:, None], some] = part.sources
        scores[:, here[:, None], some] = part.scores
        bounds[:, here] = part.bounds
    return Candidates(sources=sources, scores=scores, bounds=bounds)
