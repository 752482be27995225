"""Cosines of pairs of pixels, whose bits do not depend on the other pairs."""

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from .keys import PartKeys

# Maximum number of values gathered at once: a few times a processor's cache; on a GPU, a small part of its memory.
_AT_ONCE, _AT_ONCE_ON_GPU = 2**20, 2**26


def unit_vectors(features: torch.Tensor) -> torch.Tensor:
    """L2-normalise features over the last axis, in float32; a vector of zeros stays zero."""
    return functional.normalize(features.float(), dim=-1, eps=1e-12)


def pair_cosines(queries: torch.Tensor, keys: "torch.Tensor | PartKeys", sources: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each query with each of its sources.

    Each pair's products are summed along the channels in float32, in an order that depends only on the number of
    channels. So on a CPU the bits do not depend on the other pairs, unlike those of a matrix product.

    Parameters
    ----------
    queries
        (query, channel), float32, L2-normalised.
    keys
        (key, channel), float32, L2-normalised; or the keys of a part in memory.
    sources
        (query, c), int64: indices of keys.

    Returns
    -------
    torch.Tensor
        (query, c), float32.
    """
    width, channels = sources.shape[1], queries.shape[1]
    cosines = queries.new_empty(sources.shape)
    step = max(1, (_AT_ONCE if queries.device.type == "cpu" else _AT_ONCE_ON_GPU) // max(1, width * channels))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        gathered = keys[sources[some].flatten()].view(-1, width, channels)
        torch.sum(gathered.mul_(queries[some, None, :]), dim=-1, out=cosines[some])
    return cosines
