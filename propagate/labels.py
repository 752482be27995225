"""Labels, the light step of propagation: a sparse weighted sum of the context's labels."""

import torch

from .affinity import Affinity

__all__ = ["propagate_labels"]


def propagate_labels(affinity: Affinity, context_labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Give a frame the labels of its sources, weighted by softmax(similarity / temperature) (TED, Algorithm 1).

    Parameters
    ----------
    affinity
        The frame's affinity with its n context frames.
    context_labels
        (n, channel, y, x), float32: the soft labels of the context, in its order.
    temperature
        Positive; the lower, the more the best source counts.

    Returns
    -------
    torch.Tensor
        The frame's soft label: (channel, y, x), float32.
    """
    channels, *grid = context_labels.shape[1:]
    similarity = affinity.similarity
    # The best source is subtracted before dividing: a tiny temperature must not overflow. Nor may its reciprocal, by
    # which a GPU multiplies instead: 0 times infinity.
    temperature = max(temperature, torch.finfo(similarity.dtype).tiny)
    weights = ((similarity - similarity[:, :1]) / temperature).softmax(1)  # (pixel, k)
    by_source = context_labels.permute(0, 2, 3, 1).reshape(-1, channels)  # (source, channel)
    # No matrix product: a process may have allowed those to be computed in TF32, off by 1e-3.
    label = (weights[:, :, None] * by_source[affinity.sources]).sum(1)  # (pixel, channel)
    return label.T.reshape(channels, *grid)
