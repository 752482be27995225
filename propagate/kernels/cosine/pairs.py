"""Cosines of chosen pairs of pixels, computed so that a pair has the same bits wherever it is met."""

import torch
from torch.nn import functional

__all__ = ["pair_cosines", "unit_vectors"]

# Numbers gathered at once: a few of a processor's caches.
_AT_ONCE = 2**20


def unit_vectors(features: torch.Tensor) -> torch.Tensor:
    """L2-normalise features over the last axis, in float32; a vector of zeros stays zero."""
    return functional.normalize(features.float(), dim=-1, eps=1e-12)


def pair_cosines(queries: torch.Tensor, keys: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each query with each of its sources.

    The products of a pair are summed along the channels by themselves, in float32, in an order that only their number
    decides: on a processor the result does not depend on what else is computed, unlike that of a matrix product.

    Parameters
    ----------
    queries
        (query, channel), float32, L2-normalised.
    keys
        (key, channel), float32, L2-normalised.
    sources
        (query, c), int64: indices of keys.

    Returns
    -------
    torch.Tensor
        (query, c), float32.
    """
    width, channels = sources.shape[1], queries.shape[1]
    cosines = queries.new_empty(sources.shape)
    step = max(1, (_AT_ONCE if queries.device.type == "cpu" else 2**27) // max(1, width * channels))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        gathered = keys[sources[some].flatten()].view(-1, width, channels)
        torch.sum(gathered.mul_(queries[some, None, :]), dim=-1, out=cosines[some])
    return cosines
