"""Check whether cached candidates contain the exact top-k for another fusion of two parts."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ...fusion import Fusion
from ..candidates import Candidates

if TYPE_CHECKING:
    from ...spec import SearchSpec
    from .kernel import CosineKernel

# Margin: interpolated similarities and computed ones differ by rounding.
_ROUNDING = 1e-6


def proven(
    kernel: "CosineKernel",
    candidates: Candidates,
    spec: "SearchSpec",
    fusion: Fusion,
    top_k: int,
    *,
    cells: int,
    frames: int,
    annotated: int,
) -> torch.Tensor:
    """Return for which pixels the k best candidates are certain to be the k best sources; see `Kernel.proven`.

    Under each searched fusion, `Candidates.bounds` bounds the similarity of all sources outside the candidates, also in
    a shorter context. With two parts, the similarity is linear in the scale of the first part. Between two searched
    fusions it is thus bounded by the line between their bounds, and beyond the outermost fusion by a line to 1, the
    largest cosine. A pixel is proven if its k-th candidate is more similar than the smallest of these bounds.
    """
    ranked = kernel.rank(candidates, fusion, top_k, cells=cells, frames=frames, annotated=annotated).similarity
    lacking = ranked.shape[1] < top_k
    kth = ranked.new_full((len(ranked),), -torch.inf) if lacking else ranked[:, top_k - 1]
    usable = [
        (own, bound)
        for own, bound in zip(spec.fusions, candidates.bounds, strict=True)
        if own.renormalize == fusion.renormalize
        # A context that is not full yet contains all earlier frames.
        and (own.context >= fusion.context or own.context > frames - annotated)
    ]
    result = torch.zeros_like(kth, dtype=torch.bool)
    for own, bound in usable:
        if kernel.scales(own) == kernel.scales(fusion):
            result |= kth >= bound
        result |= bound == -torch.inf  # every source in the window is a candidate
    if len(fusion.weights) == 2 and fusion.renormalize:
        limit = _between([(kernel.scales(own)[0], bound) for own, bound in usable], kernel.scales(fusion)[0], kth)
        result |= kth > limit + _ROUNDING
    return result


def _between(bounds: Sequence[tuple[float, torch.Tensor]], share: float, like: torch.Tensor) -> torch.Tensor:
    """Interpolate pairs (scale of the first part, bounds (pixel,)) to `share`; scales 0 and 1 have the bound 1."""
    points = [(0.0, torch.ones_like(like)), *sorted(bounds, key=lambda item: item[0]), (1.0, torch.ones_like(like))]
    limit = torch.ones_like(like)
    for (low, left), (high, right) in pairwise(points):
        if low <= share <= high:
            # Skip the interpolation: 0 * inf would be NaN.
            weight = (share - low) / (high - low) if high > low else 0.0
            line = torch.where(torch.isinf(left) | torch.isinf(right), torch.ones_like(left), left.lerp(right, weight))
            limit = torch.minimum(limit, line if high > low else torch.minimum(left, right))
    return limit
