"""What candidates prove: whether a setting that they were not found for can be read from them."""

from collections.abc import Sequence
from itertools import pairwise

import torch

from ...fusion import Fusion
from ...ranking import rank
from ...spec import SearchSpec
from .candidates import Candidates

__all__ = ["found_for", "proven"]

# Similarities between those of two fusions are interpolated, which rounds otherwise than computing them does.
_ROUNDING = 1e-6


def found_for(search: SearchSpec, fusion: Fusion, top_k: int) -> bool:
    """Tell whether a search found, by its definition, the k best sources of every pixel under a fusion.

    It did for its own fusions and as many sources or fewer; and, if it found the best of each context frame, for
    shorter contexts.
    """
    if top_k > search.top_k:
        return False
    return any(
        own.scales == fusion.scales
        and own.renormalize == fusion.renormalize
        and (own.context == fusion.context or (search.per_frame and own.context > fusion.context))
        for own in search.fusions
    )


def proven(
    candidates: Candidates,
    search: SearchSpec,
    fusion: Fusion,
    top_k: int,
    *,
    grid: tuple[int, int],
    frames: int,
    annotated: int = 1,
) -> torch.Tensor:
    """Return for which pixels the k best candidates under a fusion are, for certain, the k best sources.

    Parameters
    ----------
    candidates
        A frame's, which the search found.
    search
        The search.
    fusion
        Any fusion of the same parts.
    top_k
        k, at least 1.
    grid, frames, annotated
        As for `rank`.

    Returns
    -------
    torch.Tensor
        (pixel,), bool. Where it is False, the k best sources may still be among the candidates.

    Notes
    -----
    Under each fusion that was searched, sources that are no candidates are bounded (`Candidates.bounds`), also in a
    shorter context. Two-part similarity is linear in the share w of the first part, so between two bounded fusions it
    is bounded by what lies on the line between their bounds; and beyond the outermost ones by a line to 1, since no
    cosine is larger. A pixel is proven if its k-th best candidate is better than any of that.
    """
    if found_for(search, fusion, top_k):
        return torch.ones(len(candidates.sources), dtype=torch.bool, device=candidates.sources.device)
    ranked = rank(candidates, fusion, top_k, grid=grid, frames=frames, annotated=annotated).similarity
    lacking = ranked.shape[1] < top_k
    kth = ranked.new_full((len(ranked),), -torch.inf) if lacking else ranked[:, top_k - 1]
    usable = [
        (own, bound)
        for own, bound in zip(search.fusions, candidates.bounds, strict=True)
        if own.renormalize == fusion.renormalize
        # Where a context is not full, it holds every frame before.
        and (own.context >= fusion.context or own.context > frames - annotated)
    ]
    result = torch.zeros_like(kth, dtype=torch.bool)
    for own, bound in usable:
        if own.scales == fusion.scales:
            result |= kth >= bound
        result |= bound == -torch.inf  # every source in the window is a candidate
    if len(fusion.weights) == 2 and fusion.renormalize:
        limit = _between([(own.scales[0], bound) for own, bound in usable], fusion.scales[0], kth)
        result |= kth > limit + _ROUNDING
    return result


def _between(bounds: Sequence[tuple[float, torch.Tensor]], share: float, like: torch.Tensor) -> torch.Tensor:
    """Interpolate bounds, (pixel,), at shares of the first part; at the shares 0 and 1 there is the bound 1."""
    points = [(0.0, torch.ones_like(like)), *sorted(bounds, key=lambda item: item[0]), (1.0, torch.ones_like(like))]
    limit = torch.ones_like(like)
    for (low, left), (high, right) in pairwise(points):
        if low <= share <= high:
            # Weights of zero times infinity would be no number.
            weight = (share - low) / (high - low) if high > low else 0.0
            line = torch.where(torch.isinf(left) | torch.isinf(right), torch.ones_like(left), left.lerp(right, weight))
            limit = torch.minimum(limit, line if high > low else torch.minimum(left, right))
    return limit
