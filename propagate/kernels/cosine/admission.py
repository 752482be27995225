"""Select candidates: keys whose approximate similarity is within 2 eps of the k-th largest."""

from collections.abc import Iterator, Sequence

import torch

from ..candidates import rows_of
from .precision import Precision
from .scores import TileScores
from .search import weighted
from .tiles import SEGMENT_ROWS

# Number of queries in a batch: their bounds should stay in the processor's cache while all fusions are compared.
_QUERIES_AT_ONCE = 64

# Maximum number of segments whose keys are read together.
_SEGMENTS_AT_ONCE = 2**15

Listed = tuple[torch.Tensor, torch.Tensor]


class TooManyCandidatesError(Exception):
    """Low-precision similarities admit too many candidates to compare exactly."""


def admit(
    scores: TileScores,
    scales: Sequence[Sequence[float]],
    precision: Precision,
    order: torch.Tensor,
    grid: tuple[int, int],
    top_k: int,
    frames: Sequence[int] | None = None,
) -> Listed:
    """Find every key whose similarity may be among the k largest in its query's window, for any of several fusions.

    A key is admitted if ``score >= k-th score - 2 * error``. If no error exceeds the bound, the exact top-k is
    included. If many times k keys tie within errors of float32, admit those that are certainly in the top-k, then the
    others in the order of (context frame, y, x).

    `scales` has the scale of each table for each fusion, `order` each frame's position in the context. `frames` are
    searched, by default all.

    Returns
    -------
    sources : torch.Tensor
        (query, c), int64: flat indices into (context frame, y, x), each once, in no order; -1 in empty slots.
    values : torch.Tensor
        (table, query, c), float32: the entries of the tables; undefined in empty slots.

    Raises
    ------
    TooManyCandidatesError
        When similarities have low precision and many times k keys may be among the best.
    """
    bounds = scores.segment_bounds(frames)  # one per table: (query, segment)
    thresholds = _thresholds(scores, scales, precision, bounds, top_k, frames)
    needed = torch.empty_like(bounds[0], dtype=torch.bool)
    for start in range(0, len(needed), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        near = [table[some] for table in bounds]
        reached = torch.zeros_like(near[0], dtype=torch.bool)
        for own, threshold in zip(scales, thresholds, strict=True):
            reached |= weighted(near, own) >= threshold[some, None]
        needed[some] = reached & (near[0] > -torch.inf)

    def chosen(some: slice) -> Listed:
        """Return the candidates of a batch of queries from their needed segments."""
        query, segment = needed[some].nonzero(as_tuple=True)
        keys = scores.locate(query + some.start, segment, frames)
        inside = (keys.address >= 0).flatten().nonzero()[:, 0]
        query = query[inside // SEGMENT_ROWS]
        tables = scores.read(keys.address.flatten()[inside])
        reached = torch.zeros_like(query, dtype=torch.bool)
        for own, threshold in zip(scales, thresholds, strict=True):
            reached |= weighted(tables, own) >= threshold[some].index_select(0, query)
        kept = reached.nonzero()[:, 0]
        query, inside = query[kept], inside[kept]
        segment, row = inside // SEGMENT_ROWS, inside % SEGMENT_ROWS
        source = (order[keys.frame[segment]] * grid[0] + keys.y[segment, row]) * grid[1] + keys.x[segment]
        sources, rows = rows_of(query, source, tables[:, kept], some.stop - some.start)
        among = torch.zeros_like(sources, dtype=torch.bool)
        for own in scales:
            among |= passing(weighted(rows, own).masked_fill(sources < 0, -torch.inf), sources, top_k, precision)
        width = max(1, int(among.sum(1).max()))
        columns = among.to(torch.uint8).topk(width, sorted=False).indices
        sources = sources.gather(1, columns).masked_fill_(~among.gather(1, columns), -1)
        return sources, rows.gather(2, columns.expand(len(rows), -1, -1))

    return stacked([chosen(some) for some in _batches(needed.sum(1).tolist())])


def stacked(pieces: Sequence[Listed]) -> Listed:
    """Join the lists of successive queries, widened to the longest."""
    width = max(sources.shape[1] for sources, _ in pieces)

    def wide(values: torch.Tensor, fill: float) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=fill)

    return (
        torch.cat([wide(sources, -1) for sources, _ in pieces]),
        torch.cat([wide(values, 0) for _, values in pieces], dim=1),
    )


def _thresholds(
    scores: TileScores,
    scales: Sequence[Sequence[float]],
    precision: Precision,
    bounds: Sequence[torch.Tensor],
    top_k: int,
    frames: Sequence[int] | None,
) -> list[torch.Tensor]:
    """Return for each fusion the per-query threshold, (query,): k-th score - 2 * error.

    The k-th score comes from the keys of the k + 4 segments with the largest bounds under the middle fusion. It is at
    most the exact k-th score, so the threshold is safe. Reading more segments would cost more than it saves.
    """
    queries = torch.arange(len(bounds[0]), device=bounds[0].device)
    bound = weighted(bounds, scales[len(scales) // 2])
    segments = bound.topk(min(top_k + 4, bound.shape[1]), sorted=False).indices
    address = scores.locate(queries[:, None], segments, frames).address.flatten(1)
    if address.shape[1] < top_k:
        return [bound.new_full((len(queries),), -torch.inf) for _ in scales]
    tables = scores.read(address)
    thresholds = []
    for own in scales:
        similarity = weighted(tables, own).masked_fill(address < 0, -torch.inf)
        kth = similarity.topk(top_k, sorted=False).values.amin(1)
        thresholds.append(kth - 2 * precision.bound(kth))
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


def passing(similarity: torch.Tensor, sources: torch.Tensor, top_k: int, precision: Precision) -> torch.Tensor:
    """Return which keys may be among the k most similar of their query: (..., query, key), bool.

    `similarity`, (..., query, key), is -inf where there is no key; `sources`, (query, key), are flat indices into
    (context frame, y, x).

    Raises
    ------
    TooManyCandidatesError
        When similarities have low precision and many times k keys may be among the best.
    """
    known = similarity > -torch.inf
    if similarity.shape[-1] <= top_k:
        return known
    kth = similarity.topk(top_k, sorted=False).values.amin(-1, keepdim=True)
    margin = 2 * precision.bound(kth)
    near = (similarity >= kth - margin) & known
    limit = 4 * top_k + 64
    if int(near.sum(-1).max()) <= limit:
        return near
    if precision.is_low:
        raise TooManyCandidatesError
    rank = torch.where(similarity > kth + margin, -1, sources)
    rank.masked_fill_(~near, torch.iinfo(rank.dtype).max)
    first = rank.topk(limit, largest=False, sorted=False).indices
    return torch.zeros_like(near).scatter_(-1, first, True) & near
