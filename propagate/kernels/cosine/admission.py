"""Select candidates: keys whose approximate similarity is within 2 eps of the k-th largest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..candidates import rows_of
from .scores import TileScores
from .tiles import SEGMENT

__all__ = ["Admitted", "ErrorBound", "FusionQuery", "TooManyCandidatesError", "admit"]

# Maximum size of table entries that may cancel in a sum.
_CANCELLING = 0.25

# Number of queries in a batch: their bounds should stay in the processor's cache while all fusions are compared.
_QUERIES_AT_ONCE = 64

# Maximum number of segments whose keys are read together.
_SEGMENTS_AT_ONCE = 2**15


class TooManyCandidatesError(Exception):
    """Low-precision similarities admit too many candidates to compare exactly."""


@dataclass(frozen=True, kw_only=True)
class ErrorBound:
    """Error bound of a computed similarity.

    Attributes
    ----------
    error
        Absolute error.
    rounding
        Relative error: the bound is ``error + rounding * (|similarity| + c)`` with a constant c, the size of table
        entries that may cancel in the sum.
    """

    error: float
    rounding: float

    def of(self, similarity: torch.Tensor) -> torch.Tensor:
        """Return the error bounds of similarities, of the same shape."""
        return self.error + self.rounding * (similarity.abs() + _CANCELLING)


@dataclass(frozen=True, kw_only=True)
class FusionQuery:
    """A fusion to search: its similarity as a weighted sum of tables.

    Attributes
    ----------
    scales
        Weight of each table in the sum, at least 0.
    error
        Error bound of these similarities.
    """

    scales: tuple[float, ...]
    error: ErrorBound

    def similarity(self, tables: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Return the scaled sum of the tables' entries."""
        terms = [table * scale for table, scale in zip(tables, self.scales, strict=True) if scale > 0]
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """Candidates of a tile's queries.

    Attributes
    ----------
    sources
        (query, c), int64: flat indices into (context frame, y, x), each once, in no order; -1 in empty slots.
    scores
        (table, query, c), float32: the entries of the tables; undefined in empty slots.
    """

    sources: torch.Tensor
    scores: torch.Tensor


def admit(
    scores: TileScores,
    fusions: Sequence[FusionQuery],
    order: torch.Tensor,
    grid: tuple[int, int],
    top_k: int,
    frames: Sequence[int] | None = None,
) -> Admitted:
    """Find every key whose similarity may be among the k largest in its query's window, for any of several fusions.

    A key is admitted if ``score >= k-th score - 2 * error``. If no error exceeds the bound, the exact top-k is
    included. If many times k keys tie within errors of float32, admit those that are certainly in the top-k, then the
    others in the order of (context frame, y, x).

    Parameters
    ----------
    scores
        The tile's tables.
    fusions
        The fusions to search.
    order
        (frame,), int64: each frame's position in the context.
    grid
        (y, x).
    top_k
        k, at least 1.
    frames
        Frames to search; all by default.

    Raises
    ------
    TooManyCandidatesError
        When similarities have low precision and many times k keys may be among the best.
    """
    bounds = scores.segment_bounds(frames)  # one per table: (query, segment)
    thresholds = _thresholds(scores, fusions, bounds, top_k, frames)
    needed = torch.empty_like(bounds[0], dtype=torch.bool)
    for start in range(0, len(needed), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        near = [table[some] for table in bounds]
        reached = near[0] > torch.inf
        for fusion, threshold in zip(fusions, thresholds, strict=True):
            reached |= fusion.similarity(near) >= threshold[some, None]
        needed[some] = reached & (near[0] > -torch.inf)
    pieces = [
        _chosen(scores, fusions, thresholds, order, grid, top_k, frames, needed[some], some)
        for some in _batches(needed.sum(1).tolist())
    ]
    width = max(piece.sources.shape[1] for piece in pieces)
    return Admitted(
        sources=torch.cat([_widened(piece.sources, width, -1) for piece in pieces]),
        scores=torch.cat([_widened(piece.scores, width, 0) for piece in pieces], dim=1),
    )


def _thresholds(
    scores: TileScores,
    fusions: Sequence[FusionQuery],
    bounds: Sequence[torch.Tensor],
    top_k: int,
    frames: Sequence[int] | None,
) -> list[torch.Tensor]:
    """Return for each fusion the per-query threshold, (query,): k-th score - 2 * error.

    The k-th score comes from the keys of the k + 4 segments with the largest bounds under the middle fusion. It is at
    most the exact k-th score, so the threshold is safe. Reading more segments would cost more than it saves.
    """
    queries = torch.arange(len(bounds[0]), device=bounds[0].device)
    bound = fusions[len(fusions) // 2].similarity(bounds)
    segments = bound.topk(min(top_k + 4, bound.shape[1]), sorted=False).indices
    address = scores.locate(queries[:, None], segments, frames).address.flatten(1)
    if address.shape[1] < top_k:
        return [bound.new_full((len(queries),), -torch.inf) for _ in fusions]
    tables = scores.read(address)
    thresholds = []
    for fusion in fusions:
        similarity = fusion.similarity(tables).masked_fill_(address < 0, -torch.inf)
        kth = similarity.topk(top_k, sorted=False).values.amin(1)
        thresholds.append(kth - 2 * fusion.error.of(kth).nan_to_num(posinf=0.0))
    return thresholds


def _batches(counts: Sequence[int]) -> Iterator[slice]:
    """Cut queries into runs of at most `_SEGMENTS_AT_ONCE` segments, at least one query each."""
    start, total = 0, 0
    for query, count in enumerate(counts):
        if query > start and total + count > _SEGMENTS_AT_ONCE:
            yield slice(start, query)
            start, total = query, 0
        total += count
    yield slice(start, len(counts))


def _chosen(
    scores: TileScores,
    fusions: Sequence[FusionQuery],
    thresholds: Sequence[torch.Tensor],
    order: torch.Tensor,
    grid: tuple[int, int],
    top_k: int,
    frames: Sequence[int] | None,
    needed: torch.Tensor,
    some: slice,
) -> Admitted:
    """Return the candidates of a batch of queries from their needed segments, (query, segment), bool."""
    query, segment = needed.nonzero(as_tuple=True)
    keys = scores.locate(query + some.start, segment, frames)
    inside = (keys.address >= 0).flatten().nonzero()[:, 0]
    query = query[inside // SEGMENT]
    address = keys.address.flatten()[inside]
    tables = scores.read(address)
    reached = torch.zeros_like(query, dtype=torch.bool)
    for fusion, threshold in zip(fusions, thresholds, strict=True):
        reached |= fusion.similarity(tables) >= threshold[some].index_select(0, query)
    kept = reached.nonzero()[:, 0]
    query, inside = query[kept], inside[kept]
    segment, row = inside // SEGMENT, inside % SEGMENT
    y = keys.y[segment, row]
    source = (order[keys.frame[segment]] * grid[0] + y) * grid[1] + keys.x[segment]
    tables = tables[:, kept]
    sources, rows = rows_of(query, source, tables, len(needed))
    kept = torch.zeros_like(sources, dtype=torch.bool)
    for fusion in fusions:
        kept |= _passing(fusion.similarity(rows).masked_fill_(sources < 0, -torch.inf), sources, top_k, fusion.error)
    width = max(1, int(kept.sum(1).max()))
    columns = kept.to(torch.uint8).topk(width, sorted=False).indices
    return Admitted(
        sources=sources.gather(1, columns).masked_fill_(~kept.gather(1, columns), -1),
        scores=rows.gather(2, columns.expand(len(rows), -1, -1)),
    )


def _passing(similarity: torch.Tensor, sources: torch.Tensor, top_k: int, error: ErrorBound) -> torch.Tensor:
    """Return which of each query's keys may be among the k most similar: (query, key)."""
    if similarity.shape[1] <= top_k:
        return sources >= 0
    kth = similarity.topk(top_k, sorted=False).values.amin(1, keepdim=True)
    margin = 2 * error.of(kth).nan_to_num(posinf=0.0)
    passing = (similarity >= kth - margin) & (sources >= 0)
    limit = 4 * top_k + 64
    if int(passing.sum(1).max()) <= limit:
        return passing
    if error.rounding > 0:
        raise TooManyCandidatesError
    rank = sources.masked_fill(similarity > kth + margin, -1)
    rank.masked_fill_(~passing, torch.iinfo(torch.int64).max)
    first = rank.topk(limit, largest=False, sorted=False).indices
    return torch.zeros_like(passing).scatter_(1, first, True) & passing


def _widened(values: torch.Tensor, width: int, fill: float) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=fill)
