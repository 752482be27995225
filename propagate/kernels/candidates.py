"""Candidates of a search, and the affinity of one setting, which is selected from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..context import positions_within
from ..fusion import Fusion
from ..transfer import on_device

#: Compute similarities, (fusion, ...), from component scores, (component, ...), for some fusions.
Similarities = Callable[[torch.Tensor, Sequence[Fusion]], torch.Tensor]

# Maximum number of similarities that are sorted together: a processor's cache; on a GPU, a small part of its memory.
_AT_ONCE, _AT_ONCE_ON_GPU = 2**20, 2**25


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
    """Sparse affinity of a frame's pixels with its context, under one fusion, or under several with a first axis.

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
    similarities: Similarities,
    fusions: Sequence[Fusion],
    top_k: int,
    *,
    cells: int,
    frames: int,
    annotated: int = 1,
) -> Affinity:
    """Return the k most similar candidates of each pixel under each fusion.

    Between equally similar sources, the one with the lower (context frame, y, x) comes first.

    Parameters
    ----------
    candidates
        A frame's candidates.
    similarities
        Computes similarities from component scores.
    fusions
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
        (fusion, pixel, k), with min(`top_k`, c) sources per pixel.
    """
    sources = candidates.sources
    contexts = [min(fusion.context, frames - annotated) for fusion in fusions]
    outside = {
        length: _outside(sources, None if length == frames - annotated else length, cells, frames, annotated)
        for length in dict.fromkeys(contexts)
    }
    found = []
    step = _lists_at_once(sources)
    for start in range(0, len(fusions), step):
        some = slice(start, start + step)
        similar = similarities(candidates.scores, fusions[some])
        similar.masked_fill_(_stacked([outside[length] for length in contexts[some]]), -torch.inf)
        # The candidates' indices rise and the sort is stable, so the lowest index comes first among equals.
        similar, order = similar.sort(dim=-1, descending=True, stable=True)
        similar, order = similar[..., :top_k].contiguous(), order[..., :top_k]
        best = sources.expand(len(similar), -1, -1).gather(-1, order).masked_fill_(similar == -torch.inf, 0)
        found.append((best, similar))
    best, similar = found[0] if len(found) == 1 else map(torch.cat, zip(*found, strict=True))
    return Affinity(sources=best, similarity=similar)


def _outside(sources: torch.Tensor, context: int | None, cells: int, frames: int, annotated: int) -> torch.Tensor:
    if context is None:
        return sources < 0
    positions = positions_within(frames, annotated, context)
    return ~torch.isin(sources.div(cells, rounding_mode="floor"), on_device(positions, sources.device))


def _stacked(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return masks, (mask, ...); one for all if they are the same tensor."""
    return masks[0] if all(mask is masks[0] for mask in masks) else torch.stack([*masks])


def _lists_at_once(sources: torch.Tensor) -> int:
    limit = _AT_ONCE if sources.device.type == "cpu" else _AT_ONCE_ON_GPU
    return max(1, limit // max(1, sources.numel()))


def keep_best(
    sources: torch.Tensor,
    scores: torch.Tensor,
    similarities: Similarities,
    fusions: Sequence[Fusion],
    groups: Sequence[Sequence[Sequence[int]]],
    top_k: int,
    cells: int,
) -> Candidates:
    """Keep the k most similar sources under each fusion, and bound the similarity of all others.

    Parameters
    ----------
    sources
        (pixel, c), int64, rising, each once, -1 at the end; each is in one of the groups.
    scores
        (component, pixel, c), float32.
    similarities
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
    pixels, count = sources.shape
    kept = torch.zeros((pixels, count + 1), dtype=torch.bool, device=sources.device)  # the last column: empty slots
    bounds = scores.new_full((len(fusions), pixels), -torch.inf)
    position = sources.div(cells, rounding_mode="floor")  # -1 in empty slots
    lists = [(number, tuple(places)) for number, several in enumerate(groups) for places in several if places]
    different = dict.fromkeys(places for _, places in lists)
    outside = {
        places: ~torch.isin(position, on_device(places, position.device)) if len(different) > 1 else sources < 0
        for places in different
    }
    step = _lists_at_once(sources)
    for start in range(0, len(lists), step):
        some = lists[start : start + step]
        numbers = list(dict.fromkeys(number for number, _ in some))
        similar = similarities(scores, [fusions[number] for number in numbers])
        rows = [numbers.index(number) for number, _ in some]
        similar = similar if len(rows) == len(numbers) else similar[rows]
        similar.masked_fill_(_stacked([outside[places] for _, places in some]), -torch.inf)
        values, order = similar.sort(dim=-1, descending=True, stable=True)
        best = torch.where(values[..., :top_k] > -torch.inf, order[..., :top_k], count)
        kept.scatter_(1, best.transpose(0, 1).flatten(1), True)
        if count >= top_k:
            kth = values[..., top_k - 1]
            if rows == [*range(len(fusions))]:
                bounds = kth.contiguous()
            else:
                of = on_device([number for number, _ in some], sources.device)[:, None].expand(-1, pixels)
                bounds.scatter_reduce_(0, of, kth, "amax")
    kept = kept[:, :count]
    width = max(1, int(kept.sum(1).max()))
    dropped = ~kept
    order = dropped.to(torch.uint8).sort(dim=1, stable=True).indices[:, :width]
    dropped = dropped.gather(1, order)
    return Candidates(
        sources=sources.gather(1, order).masked_fill_(dropped, -1),
        scores=scores.gather(2, order.expand(len(scores), -1, -1)).masked_fill_(dropped, 0),
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
