"""Candidates: for every pixel of a frame, the few sources that some fusion wants, and their cosines.

Similarities of all sources in a pixel's window are computed by matrix products, whose last bits depend on their shape,
and which may be of low precision: these only admit sources. Those admitted are compared by cosines computed pair by
pair, which have the same bits however a pair was found. So it makes no difference on which tiles, by which worker or
beside how many other settings a setting is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...context import places_within
from ...fusion import Fusion
from ...spec import SearchSpec
from .admission import Admitted, ErrorBound, FusionQuery, TooManyCandidatesError, admit
from .exact_products import exact_products
from .keys import Keys
from .pairs import pair_cosines
from .precision import FLOAT32, Precision
from .scores import Operand, TileScores
from .tiles import CALL_COST, Tile, plan_tiles

__all__ = ["Candidates", "find_candidates"]

#: Similarities of a tile's block, of all tables together. Larger tiles are a little faster, and take more memory.
DEFAULT_BUDGET = 2**23

# Multiply-adds that a GPU could do while a product is started.
_GPU_CALL_COST = 500_000_000

_NOWHERE = torch.iinfo(torch.int64).max


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Sources of a frame's pixels in its context.

    Attributes
    ----------
    sources
        (pixel, c), int64, rising along c: flat indices into the context's (frame, y, x); pixels in the order of the
        grid's (y, x). -1, at the end, where a pixel has fewer than c.
    cosines
        (part, pixel, c), float32; 0 where there is no source.
    bounds
        (fusion, pixel), float32: under that fusion, within its context, no source that is not among the candidates is
        more similar than this; one that is as similar has a higher index than the last candidate of this similarity
        that counts among the best. -inf where all sources are among them.
    """

    sources: torch.Tensor
    cosines: torch.Tensor
    bounds: torch.Tensor


@torch.no_grad()
def find_candidates(
    query: Sequence[torch.Tensor],
    keys: Keys,
    context: Sequence[int],
    search: SearchSpec,
    *,
    annotated: int = 1,
    budget: int = DEFAULT_BUDGET,
) -> Candidates:
    """Find the sources that are among the k most similar of a pixel under some fusion.

    Sources of equal similarity are taken in the order of (context frame, y, x).

    Parameters
    ----------
    query
        The frame's features, one tensor (y, x, channel) a part, L2-normalised float32 (`unit_vectors`).
    keys
        Features that hold the context's frames.
    context
        Numbers of the frames, in order: annotated ones first.
    search
        What to look for.
    annotated
        How many frames of the context are annotated.
    budget
        Similarities held at once. It decides the size of tiles, not the result.

    Returns
    -------
    Candidates
        On the device of the features.
    """
    height, width = query[0].shape[:2]
    device = query[0].device
    job = _Job(query=query, keys=keys, context=context, search=search, annotated=annotated)
    tables = len(job.tables(FLOAT32)[0])
    tiles = plan_tiles(
        (height, width),
        search.radius,
        frames=job.order.shape[0],
        channels=sum(part.shape[-1] for part in query),
        budget=budget // tables,
        call_cost=CALL_COST if device.type == "cpu" else _GPU_CALL_COST,
    )
    precision = job.precision()
    size = max(tile.products(job.order.shape[0]) for tile in tiles)
    buffers = {precision.dtype: _buffers(tables, size, precision.dtype, device)}
    pixels = torch.arange(height * width, device=device).view(height, width)
    found: list[tuple[torch.Tensor, Candidates]] = []
    for tile in tiles:
        part: Candidates | None = None
        while part is None:
            if precision.dtype not in buffers:
                buffers = {precision.dtype: _buffers(tables, size, precision.dtype, device)}
            part, precision = job.tile(tile, precision, buffers[precision.dtype])
        here = pixels[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
        found.append((here.flatten(), part))
    return _assembled(found, height * width)


def _buffers(count: int, size: int, dtype: torch.dtype, device: torch.device) -> list[torch.Tensor]:
    return [torch.empty(size, dtype=dtype, device=device) for _ in range(count)]


class _Job:
    """A frame against its context."""

    def __init__(
        self, *, query: Sequence[torch.Tensor], keys: Keys, context: Sequence[int], search: SearchSpec, annotated: int
    ) -> None:
        self.query = query
        self.keys = keys
        self.search = search
        self.grid = (query[0].shape[0], query[0].shape[1])
        self.slots = keys.slots.of(context)  # of each place in the context
        order = [-1] * (max(self.slots) + 1)
        for place, slot in enumerate(self.slots):
            order[slot] = place
        self.order = torch.tensor(order, device=query[0].device)  # (slot,): place, -1 for a slot that is not used
        self._within = {
            fusion.context: places_within(len(context), annotated, fusion.context) for fusion in search.fusions
        }

    def precision(self) -> Precision:
        """Return the precision of the keys, with the error that a sample of pairs calls for."""
        wanted = self.keys.precision
        if not wanted.is_low:
            return wanted
        estimates = []
        for query, keys in zip(self.query, self.keys.parts, strict=True):
            flat = query.flatten(0, 1)
            step = max(1, flat.shape[0] // 1024)
            samples = flat[::step]
            theirs = torch.cat([keys[slot].flatten(0, 1)[::step] for slot in self.slots[-4:]])
            estimates.append(wanted.estimated(samples.repeat(len(theirs) // len(samples), 1), theirs))
        return max(estimates, key=lambda estimate: estimate.error)

    def tables(self, precision: Precision) -> tuple[list[list[Operand]], list[torch.Tensor | None]]:
        """Return the operands of each table, and each table's shift: (y, x), by which its scores are too low.

        Where all fusions weigh the parts alike, one table of the fused similarity; otherwise one for each part.
        """
        scales = self.search.fusions[0].scales
        if all(fusion.scales == scales for fusion in self.search.fusions):
            pairs = [self._operand(part, scale, precision) for part, scale in enumerate(scales) if scale > 0]
            shifts = [shift for _, shift in pairs if shift is not None]
            return [[operand for operand, _ in pairs]], [torch.stack(shifts).sum(0) if shifts else None]
        pairs = [self._operand(part, 1.0, precision) for part in range(len(self.query))]
        return [[operand] for operand, _ in pairs], [shift for _, shift in pairs]

    def _operand(self, part: int, scale: float, precision: Precision) -> tuple[Operand, torch.Tensor | None]:
        count = len(self.order)
        if not precision.is_low:
            return (self.query[part] * scale, self.keys.parts[part][:count]), None
        # Rounding a result moves it the less, the nearer it is to zero: shift what matters, the similarity of good
        # sources, there. The same place in the frame put last is usually one of them.
        there = self.keys.parts[part][self.slots[-1]]
        shift = (self.query[part] * there).sum(-1) * scale
        queries = self.keys.shifted(self.query[part] * scale, shift)
        return (queries, self.keys.low[part][:count]), shift

    def tile(
        self, tile: Tile, precision: Precision, buffers: Sequence[torch.Tensor]
    ) -> tuple[Candidates | None, Precision]:
        """Find a tile's candidates; None, and the precision to try next, if products were too far off to do so."""
        tables, shifts = self.tables(precision)
        with exact_products():
            scores = TileScores(tile, tables, buffers)
        groups = [self._groups(fusion) for fusion in self.search.fusions]
        wishes = [
            FusionQuery(
                scales=(1.0,) if len(tables) == 1 else fusion.scales,
                allowance=ErrorBound(error=precision.error * sum(fusion.scales), rounding=precision.rounding),
            )
            for fusion in self.search.fusions
        ]
        together: dict[tuple[int, ...], list[FusionQuery]] = {}
        for wish, several in zip(wishes, groups, strict=True):
            for places in several:
                together.setdefault(tuple(places), []).append(wish)
        try:
            pieces = [
                admit(scores, some, self.order, self.grid, self.search.top_k, self._slots(places))
                for places, some in together.items()
            ]
        except TooManyCandidatesError:
            return None, precision.wider()
        sources, values = _union(pieces)
        here = (slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop))
        cosines = self._cosines([part[here].flatten(0, 1) for part in self.query], sources)
        shift = torch.stack([values.new_zeros(1, 1) if s is None else s[here].flatten()[:, None] for s in shifts])
        for fusion, wish in zip(self.search.fusions, wishes, strict=True):
            off = (wish.similarity(values + shift) - fusion.similarity(cosines)).abs()
            if bool(((off > wish.allowance.of(wish.similarity(values))) & (sources >= 0)).any()):
                return None, precision.wider()
        return _best(sources, cosines, self.search, groups, self.grid[0] * self.grid[1]), precision

    def _groups(self, fusion: Fusion) -> list[list[int]]:
        """Return the places in the context among which a fusion's best are found together."""
        places = self._within[fusion.context]
        return [[place] for place in places] if self.search.per_frame else [places]

    def _slots(self, places: Sequence[int]) -> list[int] | None:
        """Return the slots of some places; None if that is all of them."""
        slots = sorted(self.slots[place] for place in places)
        return None if len(slots) == len(self.order) else slots

    def _cosines(self, queries: Sequence[torch.Tensor], sources: torch.Tensor) -> torch.Tensor:
        """Return the cosines, (part, query, c), of queries with sources; 0 where there is none."""
        cells = self.grid[0] * self.grid[1]
        known = sources.clamp(min=0)
        places = torch.tensor(self.slots, device=sources.device)
        where = places[known // cells] * cells + known % cells
        cosines = [
            pair_cosines(query, keys.flatten(0, 2), where) for query, keys in zip(queries, self.keys.parts, strict=True)
        ]
        return torch.stack(cosines).masked_fill_(sources < 0, 0)


def _union(pieces: Sequence[Admitted]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sources of several lists, (query, c), each once, rising, -1 at the end; and their scores."""
    sources = torch.cat([piece.sources for piece in pieces], dim=1)
    scores = torch.cat([piece.scores for piece in pieces], dim=2)
    rank, order = sources.masked_fill(sources < 0, _NOWHERE).sort(dim=1)
    if len(pieces) > 1:  # of what several of them hold, the first
        rank[:, 1:].masked_fill_(rank[:, 1:] == rank[:, :-1], _NOWHERE)
        rank, again = rank.sort(dim=1)
        order = order.gather(1, again)
    width = max(1, int((rank < _NOWHERE).sum(1).max()))
    rank, order = rank[:, :width], order[:, :width]
    return rank.masked_fill(rank == _NOWHERE, -1), scores.gather(2, order.expand(len(scores), -1, -1))


def _best(
    sources: torch.Tensor,
    cosines: torch.Tensor,
    search: SearchSpec,
    groups: Sequence[Sequence[Sequence[int]]],
    cells: int,
) -> Candidates:
    """Keep the k most similar sources under each fusion, and bound the others."""
    kept = torch.zeros_like(sources, dtype=torch.bool)
    bounds = cosines.new_full((len(search.fusions), len(sources)), -torch.inf)
    place = sources // cells  # -1 where there is no source
    for fusion, several, bound in zip(search.fusions, groups, bounds, strict=True):
        similarity = fusion.similarity(cosines)
        for places in several:
            inside = torch.isin(place, torch.tensor(places, device=place.device))
            # Stable: of equal ones the first, which has the lowest index.
            values, order = similarity.masked_fill(~inside, -torch.inf).sort(dim=1, descending=True, stable=True)
            best = order[:, : search.top_k]
            kept.scatter_(1, best, kept.gather(1, best) | (values[:, : search.top_k] > -torch.inf))
            if values.shape[1] >= search.top_k:
                torch.maximum(bound, values[:, search.top_k - 1], out=bound)
    width = max(1, int(kept.sum(1).max()))
    order = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices[:, :width]
    kept = kept.gather(1, order)
    return Candidates(
        sources=sources.gather(1, order).masked_fill_(~kept, -1),
        cosines=cosines.gather(2, order.expand(len(cosines), -1, -1)).masked_fill_(~kept, 0),
        bounds=bounds,
    )


def _assembled(found: Sequence[tuple[torch.Tensor, Candidates]], pixels: int) -> Candidates:
    """Put the tiles' candidates into their places."""
    first = found[0][1]
    width = max(part.sources.shape[1] for _, part in found)
    sources = first.sources.new_full((pixels, width), -1)
    cosines = first.cosines.new_zeros((len(first.cosines), pixels, width))
    bounds = first.bounds.new_empty((len(first.bounds), pixels))
    for here, part in found:
        some = torch.arange(part.sources.shape[1], device=here.device)
        sources[here[:, None], some] = part.sources
        cosines[:, here[:, None], some] = part.cosines
        bounds[:, here] = part.bounds
    return Candidates(sources=sources, cosines=cosines, bounds=bounds)
