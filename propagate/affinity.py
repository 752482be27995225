"""Affinity, the label-free step of propagation: every pixel's k best sources in its context, and how similar they are.

The similarity of two pixels is that of their fused features, of which TED's two parts (Eq. 4) are the common case::

    sim = sum_i w_i^2 cos_i / sum_i w_i^2

(undivided without renormalisation): a few cosines and scalars, so the fused features are never built. Similarities are
computed densely in blocks, tiles of queries against the box of keys that their windows cover, whose size a memory
budget bounds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ..store.errors import ConfigError
from .topk import best_sources
from .windows import Tile, plan_tiles

__all__ = ["Affinity", "frame_affinity", "unit_vectors"]

#: Bytes of a block of similarities: of the order of a processor's last cache; several times as much is in use.
DEFAULT_BUDGET = 64 * 2**20

#: Cosines closer than this tie: well above the rounding errors of float32 products of unit vectors (about 1e-7).
TIE = 1e-6


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


def unit_vectors(features: torch.Tensor) -> torch.Tensor:
    """L2-normalise features over the last axis, in float32; a vector of zeros stays zero."""
    return functional.normalize(features.float(), dim=-1, eps=1e-12)


@torch.no_grad()
def frame_affinity(
    query: Sequence[torch.Tensor],
    context: Sequence[torch.Tensor | Sequence[torch.Tensor]],
    weights: Sequence[float],
    radius: int,
    top_k: int,
    renormalize: bool = True,
    *,
    budget: int = DEFAULT_BUDGET,
) -> Affinity:
    """Find the most similar sources of every pixel of a frame (TED, Algorithm 1).

    Parameters
    ----------
    query
        The frame's features, one tensor (y, x, channel) per part, L2-normalised float32 (`unit_vectors`).
    context
        The same parts of the n context frames: (frame, y, x, channel), as a tensor or as a sequence of n tensors
        (y, x, channel).
    weights
        Weight of each part, at least 0; parts of weight 0 are not looked at.
    radius
        Half the side of the square window: how far in y, and in x, a source may be, in cells.
    top_k
        Sources to keep per pixel, at least 1, jointly over all context frames. Exactly that many are kept; of sources
        that tie for the last place (to within 1e-6) the lower (frame, y, x) win.
    renormalize
        Whether the fused features are L2-normalised again.
    budget
        Bytes of a block of similarities. It decides the size of tiles.

    Returns
    -------
    Affinity
        With k = `top_k`, or the number of sources of the pixel that has most where that is less. On the device of
        the features.

    Raises
    ------
    ConfigError
        When no weight is positive, or one is negative or not finite.
    """
    scales = _scales(weights, renormalize)
    parts = [(query[i] * scale, context[i]) for i, scale in enumerate(scales) if scale > 0]
    height, width = parts[0][0].shape[:2]
    frames = len(parts[0][1])
    window_cells = min(height, 2 * radius + 1) * min(width, 2 * radius + 1)
    top_k = min(top_k, frames * window_cells)
    tolerance = TIE * sum(scales)

    device = parts[0][0].device
    sources = torch.zeros((height, width, top_k), dtype=torch.int64, device=device)
    similarity = torch.full((height, width, top_k), -torch.inf, device=device)
    channels = sum(part.shape[-1] for part, _ in parts)
    tiles = plan_tiles((height, width), radius, frames=frames, channels=channels, budget=budget)
    buffer = torch.empty(frames * max(tile.queries * tile.keys for tile in tiles), device=device)
    for tile in tiles:
        with _exact_products():
            block = _similarities(parts, tile, frames, buffer, batch_bytes=budget)
        positions, values = best_sources(block, tile, radius, top_k, tolerance)
        here = (slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop))
        shape = (len(tile.rows), len(tile.columns), -1)
        kept = values.shape[1]
        indices = _grid_indices(positions, tile, height, width).masked_fill_(values == -torch.inf, 0)
        sources[here][..., :kept] = indices.view(shape)
        similarity[here][..., :kept] = values.view(shape)
    return Affinity(sources=sources.flatten(0, 1), similarity=similarity.flatten(0, 1))


def _scales(weights: Sequence[float], renormalize: bool) -> list[float]:
    """Return what each part's cosine is multiplied by."""
    squares = [weight * weight for weight in weights]
    total = sum(squares)
    if not 0 < total < float("inf") or min(weights) < 0:
        raise ConfigError(f"weights of features must be at least 0 and one of them positive, not {list(weights)}")
    return [square / total for square in squares] if renormalize else squares


def _similarities(
    parts: Sequence[tuple[torch.Tensor, torch.Tensor | Sequence[torch.Tensor]]],
    tile: Tile,
    frames: int,
    buffer: torch.Tensor,
    batch_bytes: int,
) -> torch.Tensor:
    """Fill the buffer with a tile's block of similarities, (frame, query y, query x, key y, key x)."""
    block = buffer[: frames * tile.queries * tile.keys].view(frames, tile.queries, tile.keys)
    box = (slice(tile.key_rows.start, tile.key_rows.stop), slice(tile.key_columns.start, tile.key_columns.stop))
    for number, (query, context) in enumerate(parts):
        queries = query[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop].flatten(0, 1)
        # One frame's keys at a time stay in a processor's cache; a GPU wants large batches instead.
        batch = 1 if buffer.device.type == "cpu" else max(1, batch_bytes // (4 * tile.keys * query.shape[-1]))
        for start in range(0, frames, batch):
            stop = min(start + batch, frames)
            keys = torch.stack([context[i][box] for i in range(start, stop)]).flatten(1, 2)  # (frame, key, channel)
            out = block[start:stop]  # (frame, query, key)
            torch.baddbmm(out, queries.expand(stop - start, -1, -1), keys.mT, beta=min(number, 1), out=out)
    return block.view(frames, len(tile.rows), len(tile.columns), len(tile.key_rows), len(tile.key_columns))


def _grid_indices(positions: torch.Tensor, tile: Tile, height: int, width: int) -> torch.Tensor:
    """Turn flat indices into (frame, key y, key x) of a tile's box into those into (frame, y, x) of the grid."""
    x = positions % len(tile.key_columns) + tile.key_columns.start
    rows = positions // len(tile.key_columns)
    y = rows % len(tile.key_rows) + tile.key_rows.start
    return (rows // len(tile.key_rows) * height + y) * width + x


@contextmanager
def _exact_products() -> Iterator[None]:
    """Multiply float32 matrices in float32 whatever the process has chosen (TF32 is off by 1e-3)."""
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch before 2.9
        legacy = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(legacy)
        return
    known: Any = torch.backends
    backends = (known.cuda.matmul, known.mkldnn.matmul)
    exact = ("ieee", "none")  # "none" is nobody's choice, which is exact
    changed = [(backend, backend.fp32_precision) for backend in backends if backend.fp32_precision not in exact]
    try:
        for backend, _ in changed:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, before in changed:
            backend.fp32_precision = before
