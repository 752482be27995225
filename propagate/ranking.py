"""Ranking candidates: what one setting wants of them."""

from collections.abc import Sequence

import torch

from .affinity import Affinity
from .context import places_within
from .fusion import Fusion
from .kernels.cosine.candidates import DEFAULT_BUDGET, Candidates, find_candidates
from .kernels.cosine.keys import Keys
from .kernels.cosine.precision import FLOAT32, Precision
from .spec import SearchSpec

__all__ = ["frame_affinity", "rank"]


def frame_affinity(
    query: Sequence[torch.Tensor],
    context: Sequence[torch.Tensor],
    weights: Sequence[float],
    radius: int,
    top_k: int,
    renormalize: bool = True,
    *,
    precision: Precision = FLOAT32,
    budget: int = DEFAULT_BUDGET,
) -> Affinity:
    """Find the most similar sources of every pixel of a single frame (TED, Algorithm 1).

    Parameters
    ----------
    query
        The frame's features, one tensor (y, x, channel) per part, L2-normalised float32 (`unit_vectors`).
    context
        The same parts of the n context frames, (frame, y, x, channel); their features are copied.
    weights
        Weight of each part, at least 0; parts of weight 0 are not looked at.
    radius
        Half the side of the square window: how far in y, and in x, a source may be, in cells.
    top_k
        Sources to keep per pixel, at least 1, jointly over all context frames. Exactly that many are kept; of sources
        that are equally similar the lower (frame, y, x) win.
    renormalize
        Whether the fused features are L2-normalised again.
    precision
        Of the matrix products that admit sources. It does not change the result.
    budget
        Similarities held at once. It decides the size of tiles, not the result.

    Returns
    -------
    Affinity
        With k = `top_k`, or the number of sources of the pixel that has most where that is less.

    Raises
    ------
    ConfigError
        When no weight is positive, or one is negative or not finite.
    """
    whole = Fusion(weights=tuple(weights), context=0, renormalize=renormalize)
    used = [part for part, weight in enumerate(whole.weights) if weight > 0]
    frames = context[used[0]].shape[0]
    fusion = Fusion(weights=tuple(whole.weights[part] for part in used), context=frames - 1, renormalize=renormalize)
    candidates = find_candidates(
        [query[part] for part in used],
        Keys.of([context[part] for part in used], precision),
        range(frames),
        SearchSpec(radius=radius, top_k=top_k, fusions=(fusion,)),
        budget=budget,
    )
    height, width = query[used[0]].shape[:2]
    return rank(candidates, fusion, top_k, grid=(height, width), frames=frames)


def rank(
    candidates: Candidates, fusion: Fusion, top_k: int, *, grid: tuple[int, int], frames: int, annotated: int = 1
) -> Affinity:
    """Return the k most similar of a frame's candidates.

    Sources of equal similarity are taken in the order of (context frame, y, x).

    Parameters
    ----------
    candidates
        The frame's.
    fusion
        What makes similarities of cosines, and how much of the context counts.
    top_k
        k, at least 1.
    grid
        (y, x).
    frames
        Frames in the context that the candidates' sources point into.
    annotated
        How many of them are annotated: they come first.

    Returns
    -------
    Affinity
        With min(`top_k`, number of candidates) sources a pixel.
    """
    inside = candidates.sources >= 0
    if fusion.context < frames - annotated:
        places = places_within(frames, annotated, fusion.context)
        inside &= torch.isin(candidates.sources // (grid[0] * grid[1]), torch.tensor(places, device=inside.device))
    similarity = fusion.similarity(candidates.cosines).masked_fill_(~inside, -torch.inf)
    # Stable, and candidates rise: of equal ones the lowest index first.
    similarity, order = similarity.sort(dim=1, descending=True, stable=True)
    similarity, order = similarity[:, :top_k], order[:, :top_k]
    sources = candidates.sources.gather(1, order).masked_fill_(similarity == -torch.inf, 0)
    return Affinity(sources=sources, similarity=similarity.contiguous())
