"""Affinity: every pixel's k best sources in its context, and how similar they are."""

from dataclasses import dataclass

import torch

__all__ = ["Affinity"]


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Sparse affinity of a frame's pixels with its context.

    Attributes
    ----------
    sources
        (pixel, k), int64: flat indices into the context's (frame, y, x); pixels in the order of the grid's (y, x).
    similarity
        (pixel, k), float32, falling along k; in [-1, 1] if renormalised. -inf where a pixel has fewer than k sources
        (the index there is 0).
    """

    sources: torch.Tensor
    similarity: torch.Tensor
