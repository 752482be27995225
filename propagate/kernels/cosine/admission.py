"""Admitting candidates: the keys that can be among a query's best, by similarities that may be a little off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .scores import TileScores
from .tiles import SEGMENT

__all__ = ["Admitted", "ErrorBound", "FusionQuery", "TooManyCandidatesError", "admit"]

# Size of the tables' entries that may cancel in a sum.
_CANCELLING = 0.25

# Queries whose bounds stay in a processor's cache while every wish is compared with them.
_QUERIES_AT_ONCE = 64

# Segments whose keys are looked at together.
_SEGMENTS_AT_ONCE = 2**15


class TooManyCandidatesError(Exception):
    """More candidates than are worth comparing, because similarities are too far off to tell them apart."""


@dataclass(frozen=True, kw_only=True)
class ErrorBound:
    """How far a computed similarity may be off.

    Attributes
    ----------
    error
        Everywhere.
    rounding
        More, relative to its size. The similarity may be a sum of tables' of this size and of either sign.
    """

    error: float
    rounding: float

    def of(self, similarity: torch.Tensor) -> torch.Tensor:
        """Return the allowed error of similarities."""
        return self.error + self.rounding * (similarity.abs() + _CANCELLING)


@dataclass(frozen=True, kw_only=True)
class FusionQuery:
    """A fusion whose best sources are wanted.

    Attributes
    ----------
    scales
        What each table is multiplied by in the sum that makes similarities, at least 0.
    allowance
        How far those may be off.
    """

    scales: tuple[float, ...]
    allowance: ErrorBound

    def similarity(self, tables: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Return the sum of the tables' entries."""
        terms = [table * scale for table, scale in zip(tables, self.scales, strict=True) if scale > 0]
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """Candidates of a tile's queries.

    Attributes
    ----------
    sources
        (query, c), int64: flat indices into (context frame, y, x), each once, in no order; -1 where there is none.
    scores
        (table, query, c), float32: what the tables say of them; anything where there is none.
    """

    sources: torch.Tensor
    scores: torch.Tensor


def admit(
    scores: TileScores,
    wishes: Sequence[FusionQuery],
    order: torch.Tensor,
    grid: tuple[int, int],
    top_k: int,
    frames: Sequence[int] | None = None,
) -> Admitted:
    """Find every key whose similarity may be among the k largest in its query's window, for any of several wishes.

    Those are all that are no more than twice the allowed error below the k-th largest: if no similarity is off by more
    than is allowed, the k most similar sources are among them. Where more than a few times k tie to within errors of
    float32, those certain to be among the best are, and of the others the first in the order of (context frame, y, x).

    Parameters
    ----------
    scores
        The tile's tables.
    wishes
        Fusions.
    order
        (frame,), int64: each frame's place in the context.
    grid
        (y, x).
    top_k
        k, at least 1.
    frames
        Frames to look at; all by default.

    Raises
    ------
    TooManyCandidatesError
        When similarities are of low precision, and more than a few times k may be among the best.
    """
    bounds = scores.segment_bounds(frames)  # one table after the other, (query, segment)
    lines = _lines(scores, wishes, bounds, top_k, frames)
    needed = torch.empty_like(bounds[0], dtype=torch.bool)
    for start in range(0, len(needed), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        near = [table[some] for table in bounds]
        reached = near[0] > torch.inf
        for wish, line in zip(wishes, lines, strict=True):
            reached |= wish.similarity(near) >= line[some, None]
        needed[some] = reached & (near[0] > -torch.inf)
    pieces = [
        _chosen(scores, wishes, lines, order, grid, top_k, frames, needed[some], some)
        for some in _batches(needed.sum(1).tolist())
    ]
    width = max(piece.sources.shape[1] for piece in pieces)
    return Admitted(
        sources=torch.cat([_widened(piece.sources, width, -1) for piece in pieces]),
        scores=torch.cat([_widened(piece.scores, width, 0) for piece in pieces], dim=1),
    )


def _lines(
    scores: TileScores,
    wishes: Sequence[FusionQuery],
    bounds: Sequence[torch.Tensor],
    top_k: int,
    frames: Sequence[int] | None,
) -> list[torch.Tensor]:
    """Return for each wish what a key must reach at least, (query,): two allowed errors below k others.

    The k others are found in the segments with the largest bounds, of which the first k hold k keys, for one of the
    wishes: the middle one, if they are in the order of alpha. More of them would draw the lines a little higher, and
    cost more than that saves.
    """
    queries = torch.arange(len(bounds[0]), device=bounds[0].device)
    bound = wishes[len(wishes) // 2].similarity(bounds)
    places = bound.topk(min(top_k + 4, bound.shape[1]), sorted=False).indices
    address = scores.locate(queries[:, None], places, frames).address.flatten(1)
    if address.shape[1] < top_k:
        return [bound.new_full((len(queries),), -torch.inf) for _ in wishes]
    tables = scores.read(address)
    lines = []
    for wish in wishes:
        similarity = wish.similarity(tables).masked_fill_(address < 0, -torch.inf)
        kth = similarity.topk(top_k, sorted=False).values.amin(1)
        lines.append(kth - 2 * wish.allowance.of(kth).nan_to_num(posinf=0.0))
    return lines


def _batches(counts: Sequence[int]) -> Iterator[slice]:
    """Cut queries into runs that need so many segments that memory holds them, at least one query each."""
    start, total = 0, 0
    for query, count in enumerate(counts):
        if query > start and total + count > _SEGMENTS_AT_ONCE:
            yield slice(start, query)
            start, total = query, 0
        total += count
    yield slice(start, len(counts))


def _chosen(
    scores: TileScores,
    wishes: Sequence[FusionQuery],
    lines: Sequence[torch.Tensor],
    order: torch.Tensor,
    grid: tuple[int, int],
    top_k: int,
    frames: Sequence[int] | None,
    needed: torch.Tensor,
    some: slice,
) -> Admitted:
    """Return the candidates of some of the queries, from the segments that they need: (query, segment)."""
    query, place = needed.nonzero(as_tuple=True)
    keys = scores.locate(query + some.start, place, frames)
    inside = (keys.address >= 0).flatten().nonzero()[:, 0]
    query = query[inside // SEGMENT]
    address = keys.address.flatten()[inside]
    tables = scores.read(address)
    reached = torch.zeros_like(query, dtype=torch.bool)
    for wish, line in zip(wishes, lines, strict=True):
        reached |= wish.similarity(tables) >= line[some].index_select(0, query)
    kept = reached.nonzero()[:, 0]
    query, inside = query[kept], inside[kept]
    segment, row = inside // SEGMENT, inside % SEGMENT
    y = keys.y[segment, row]
    source = (order[keys.frame[segment]] * grid[0] + y) * grid[1] + keys.x[segment]
    tables = tables[:, kept]
    # From a list of keys to one row a query.
    counts = query.bincount(minlength=len(needed))
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    width = max(1, int(counts.max()))
    sources = source.new_full((len(needed), width), -1)
    sources[query, column] = source
    rows = tables.new_zeros((len(tables), len(needed), width))
    rows[:, query, column] = tables

    kept = torch.zeros_like(sources, dtype=torch.bool)
    for wish in wishes:
        kept |= _passing(wish.similarity(rows).masked_fill_(sources < 0, -torch.inf), sources, top_k, wish.allowance)
    width = max(1, int(kept.sum(1).max()))
    places = kept.to(torch.uint8).topk(width, sorted=False).indices
    return Admitted(
        sources=sources.gather(1, places).masked_fill_(~kept.gather(1, places), -1),
        scores=rows.gather(2, places.expand(len(rows), -1, -1)),
    )


def _passing(similarity: torch.Tensor, sources: torch.Tensor, top_k: int, allowance: ErrorBound) -> torch.Tensor:
    """Return which of each query's keys may be among the k most similar: (query, key)."""
    if similarity.shape[1] <= top_k:
        return sources >= 0
    kth = similarity.topk(top_k, sorted=False).values.amin(1, keepdim=True)
    margin = 2 * allowance.of(kth).nan_to_num(posinf=0.0)
    passing = (similarity >= kth - margin) & (sources >= 0)
    limit = 4 * top_k + 64
    if int(passing.sum(1).max()) <= limit:
        return passing
    if allowance.rounding > 0:
        raise TooManyCandidatesError
    rank = sources.masked_fill(similarity > kth + margin, -1)
    rank.masked_fill_(~passing, torch.iinfo(torch.int64).max)
    first = rank.topk(limit, largest=False, sorted=False).indices
    return torch.zeros_like(passing).scatter_(1, first, True) & passing


def _widened(values: torch.Tensor, width: int, fill: float) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=fill)
