"""Candidates of a search, and the affinity of one setting, which is selected from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..context import positions_within
from ..fusion import Fusion

#: Compute similarities, (...), from component scores, (component, ...), for a fusion.
Similarity = Callable[[torch.Tensor, Fusion], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Sources of a frame's pixels in its context, with their scores.

    Attributes
    ----------
    sources
        (pixel, c), int64, rising along c: flat indices into the context's (frame, y, x). Pixels are in the order of the
        grid's (y, x). Pixels with fewer than c sources have -1 at the end.
    scores
        (component, pixel, c), float32: the kernel's component scores, from which it computes similarities; 0 in empty
        slots. The cosine kernel has one component for each part, the part's cosine.
    bounds
        (fusion, pixel), float32: upper bound of the similarity of all sources outside the candidates, under that fusion
        and within its context. A source whose similarity equals the bound has a higher index than the last of the k
        best candidates. -inf if every source is a candidate.
    """

    sources: torch.Tensor
    scores: torch.Tensor
    bounds: torch.Tensor

    def to(self, device: torch.device | str) -> "Candidates":
        """Return a copy on a device."""
        return Candidates(sources=self.sources.to(device), scores=self.scores.to(device), bounds=self.bounds.to(device))


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Sparse affinity of a frame's pixels with its context.

    Attributes
    ----------
    sources
        (pixel, k), int64: flat indices into the context's (frame, y, x); pixels in the order of the grid's (y, x).
    similarity
        (pixel, k), float32, falling along k; -inf in empty slots, whose index in `sources` is 0.
    """

    sources: torch.Tensor
    similarity: torch.Tensor


def rank(
    candidates: Candidates,
    similarity: Similarity,
    fusion: Fusion,
    top_k: int,
    *,
    cells: int,
    frames: int,
    annotated: int = 1,
) -> Affinity:
    """Return the k most similar candidates of each pixel.

    Between equally similar sources, the one with the lower (context frame, y, x) comes first.

    Parameters
    ----------
    candidates
        A frame's candidates.
    similarity
        Computes similarities from component scores.
    fusion
        Weights of the parts, and length of the context.
    top_k
        k, at least 1.
    cells
        Number of cells of the grid.
    frames
        Number of frames in the context of `candidates`.
    annotated
        Number of annotated frames among them; they come first.

    Returns
    -------
    Affinity
        With min(`top_k`, c) sources per pixel.
    """
    inside = candidates.sources >= 0
    if fusion.context < frames - annotated:
        positions = positions_within(frames, annotated, fusion.context)
        inside &= torch.isin(candidates.sources // cells, torch.tensor(positions, device=inside.device))
    similar = similarity(candidates.scores, fusion).masked_fill_(~inside, -torch.inf)
    # The candidates' indices rise and the sort is stable, so the lowest index comes first among equals.
    similar, order = similar.sort(dim=1, descending=True, stable=True)
    similar, order = similar[:, :top_k], order[:, :top_k]
    sources = candidates.sources.gather(1, order).masked_fill_(similar == -torch.inf, 0)
    return Affinity(sources=sources, similarity=similar.contiguous())


def keep_best(
    sources: torch.Tensor,
    scores: torch.Tensor,
    similarity: Similarity,
    fusions: Sequence[Fusion],
    groups: Sequence[Sequence[Sequence[int]]],
    top_k: int,
    cells: int,
) -> Candidates:
    """Keep the k most similar sources under each fusion, and bound the similarity of all others.

    Parameters
    ----------
    sources
        (pixel, c), int64, rising, each once, -1 at the end.
    scores
        (component, pixel, c), float32.
    similarity
        Computes similarities from component scores.
    fusions
        The fusions of the search.
    groups
        For each fusion, groups of positions in the context; the k best of each group are kept.
    top_k
        k, at least 1.
    cells
        Number of cells of the grid.
    """
    kept = torch.zeros_like(sources, dtype=torch.bool)
    bounds = scores.new_full((len(fusions), len(sources)), -torch.inf)
    position = torch.div(sources, cells, rounding_mode="floor")  # -1 in empty slots
    for fusion, several, bound in zip(fusions, groups, bounds, strict=True):
        similar = similarity(scores, fusion)
        for positions in filter(None, several):
            inside = torch.isin(position, torch.tensor(positions, device=position.device))
            values, order = similar.masked_fill(~inside, -torch.inf).sort(dim=1, descending=True, stable=True)
            best = order[:, :top_k]
            kept.scatter_(1, best, kept.gather(1, best) | (values[:, :top_k] > -torch.inf))
            if values.shape[1] >= top_k:
                torch.maximum(bound, values[:, top_k - 1], out=bound)
    width = max(1, int(kept.sum(1).max()))
    order = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices[:, :width]
    kept = kept.gather(1, order)
    return Candidates(
        sources=sources.gather(1, order).masked_fill_(~kept, -1),
        scores=scores.gather(2, order.expand(len(scores), -1, -1)).masked_fill_(~kept, 0),
        bounds=bounds,
    )


def rows_of(
    query: torch.Tensor, sources: torch.Tensor, scores: torch.Tensor, queries: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Arrange a list of pairs in one row for each query.

    Parameters
    ----------
    query
        (pair,), int64, rising: the query of each pair.
    sources
        (pair,), int64.
    scores
        (component, pair), float32.
    queries
        Number of queries.

    Returns
    -------
    sources : torch.Tensor
        (query, c), int64; -1 at the end of shorter rows.
    scores : torch.Tensor
        (component, query, c), float32; 0 at the end of shorter rows.
    """
    counts = query.bincount(minlength=queries)
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    width = max(1, int(counts.max()))
    rows = sources.new_full((queries, width), -1)
    rows[query, column] = sources
    values = scores.new_zeros((len(scores), queries, width))
    values[:, query, column] = scores
    return rows, values
