"""Dense label propagation as in the field's evaluation scripts: every pixel of a frame against every other.

Written from their description, for comparison: same features, same settings, same result.
"""

import torch
from torch.nn import functional

__all__ = ["propagate_dense"]


def propagate_dense(
    query: torch.Tensor,
    context: torch.Tensor,
    labels: torch.Tensor,
    *,
    mask: torch.Tensor,
    temperature: float,
    top_k: int,
) -> torch.Tensor:
    """Propagate labels to a frame.

    Parameters
    ----------
    query
        (y x x, channel), float32, L2-normalised.
    context
        (frame, y x x, channel), float32, L2-normalised.
    labels
        (frame, channel, y, x), float32.
    mask
        (y x x, y x x), float32, 1 inside the window, else 0.
    temperature
        Temperature of the softmax.
    top_k
        Number of sources per pixel.
    """
    frames = context.shape[0]
    affinity = torch.exp(torch.bmm(query.expand(frames, -1, -1), context.mT) / temperature)  # (frame, query, key)
    affinity *= mask
    affinity = affinity.transpose(2, 1).reshape(-1, query.shape[0])  # (frame x key, query)
    largest = torch.topk(affinity, dim=0, k=top_k).values
    affinity[affinity < largest.amin(dim=0)] = 0
    affinity = affinity / affinity.sum(dim=0, keepdim=True)
    sources = labels.transpose(0, 1).flatten(1)  # (channel, frame x key)
    return (sources @ affinity).view(labels.shape[1:])


def window_mask(grid: tuple[int, int], radius: int) -> torch.Tensor:
    """Return the mask of a square window: (y x x, y x x), float32."""
    y, x = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    inside = ((y[:, None] - y).abs() <= radius) & ((x[:, None] - x).abs() <= radius)
    return inside.float()


def fused(parts: list[torch.Tensor], weights: tuple[float, ...]) -> torch.Tensor:
    """Concatenate normalised parts (..., channel), weighted, and normalise again."""
    scaled = [weight * functional.normalize(part, dim=-1) for part, weight in zip(parts, weights, strict=True)]
    return functional.normalize(torch.cat(scaled, dim=-1), dim=-1)
