"""Label propagation written plainly: fused features built, every pixel against every other, in float64.

Axes: features are (frame, y, x, channel), one array per part; labels (channel, y, x).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def unit(features: npt.NDArray[Any]) -> Array:
    features = features.astype(np.float64)
    lengths = np.sqrt((features**2).sum(-1, keepdims=True))
    return np.asarray(np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0))


def fuse(parts: Sequence[npt.NDArray[Any]], weights: Sequence[float], renormalize: bool) -> Array:
    """R_f = concat(w_i unit(part_i)) of TED's Eq. 4, normalised again or not."""
    fused = np.concatenate([weight * unit(part) for part, weight in zip(parts, weights, strict=True)], axis=-1)
    return unit(fused) if renormalize else fused


def similarities(query: Array, context: Array, radius: int) -> Array:
    """Similarity of every pixel of `query` (y, x, channel) with every source; -inf outside of its window."""
    height, width = query.shape[:2]
    dots = query.reshape(height * width, -1) @ context.reshape(len(context) * height * width, -1).T
    y, x = np.divmod(np.arange(height * width), width)
    inside = (abs(y[:, None] - y) <= radius) & (abs(x[:, None] - x) <= radius)
    return np.where(np.tile(inside, (1, len(context))), dots, -np.inf)


def best(sims: Array, top_k: int) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """Exactly k sources per pixel, the lower index first where they are equal; their similarities; the k-th gaps.

    The gap of a pixel is the difference between its k-th similarity and the next (infinite where there is none).
    """
    order = np.argsort(-sims, axis=1, kind="stable")
    top_k = min(top_k, sims.shape[1])
    values = np.take_along_axis(sims, order, axis=1)
    values = np.concatenate([values, np.full((len(values), 1), -np.inf)], axis=1)
    with np.errstate(invalid="ignore"):
        gaps = np.nan_to_num(values[:, top_k - 1] - values[:, top_k], nan=np.inf)
    return order[:, :top_k], values[:, :top_k], gaps


def propagate_frame(sources: npt.NDArray[np.int64], values: Array, labels: Array, temperature: float) -> Array:
    """Give a frame the softmax-weighted labels of its sources; `labels` is (frame, channel, y, x)."""
    frames, channels, height, width = labels.shape
    weights = np.exp((values - values[:, :1]) / temperature)
    weights /= weights.sum(1, keepdims=True)
    by_source = labels.transpose(0, 2, 3, 1).reshape(frames * height * width, channels)
    out = np.zeros((height * width, channels))
    for place in range(sources.shape[1]):
        out += weights[:, place, None] * by_source[sources[:, place]]
    return out.T.reshape(channels, height, width)


def propagate_video(
    parts: Sequence[npt.NDArray[Any]],
    weights: Sequence[float],
    first_label: npt.NDArray[Any],
    *,
    temperature: float,
    top_k: int,
    radius: int,
    context: int,
    renormalize: bool = True,
) -> list[Array]:
    """Soft labels of all frames; the context is the first frame and the last ones, the first never among them."""
    fused = fuse(parts, weights, renormalize)
    labels = [first_label.astype(np.float64)]
    for frame in range(1, len(fused)):
        frames = [0, *[earlier for earlier in range(1, frame) if earlier >= frame - context]]
        sources, values, _ = best(similarities(fused[frame], fused[frames], radius), top_k)
        labels.append(propagate_frame(sources, values, np.stack([labels[i] for i in frames]), temperature))
    return labels


def propagate_annotated(
    parts: Sequence[npt.NDArray[Any]],
    weights: Sequence[float],
    given: dict[int, tuple[npt.NDArray[Any], list[int]]],
    *,
    temperature: float,
    top_k: int,
    radius: int,
    context: int,
) -> dict[int, Array]:
    """Soft labels by frame, from one-hot labels of any frames, each with the channels of the objects given there.

    A channel that is first given after the first of these frames is unknown before.
    """
    fused = fuse(parts, weights, True)
    start = min(given)
    channels = len(given[start][0])
    joins = {
        c: min(frame for frame in given if c in given[frame][1])
        for c in range(1, channels)
        if any(c in known for _, known in given.values())
    }
    late = {c: frame for c, frame in joins.items() if frame > start}
    labels = {start: given[start][0].astype(np.float64)}
    for frame in [*range(start + 1, len(fused)), *range(start - 1, -1, -1)]:
        if frame > start:
            fixed = [i for i in range(frame) if i in given]
            last = [i for i in range(start, frame) if i not in given][::-1][:context][::-1]
        else:
            fixed, last = [start], list(range(frame + 1, start))[:context][::-1]
        sources, values, _ = best(similarities(fused[frame], fused[fixed + last], radius), top_k)
        held = np.stack([labels[i] for i in fixed + last])
        label = propagate_frame(sources, values, held, temperature)
        shares = {}
        for channel, first in late.items():
            joined = np.zeros_like(held[:, :1])
            joined[[i >= first for i in fixed + last]] = 1
            weight = propagate_frame(sources, values, joined, temperature)[0]
            shares[channel] = np.divide(label[channel], weight, out=np.zeros_like(weight), where=weight > 0)
        for y, x in np.ndindex(label.shape[1:]):
            theirs = {channel: share[y, x] for channel, share in shares.items()}
            total = sum(theirs.values())
            if total > 0:
                theirs = {channel: share / max(1, total) for channel, share in theirs.items()}
                cell = label[:, y, x]
                cell[list(theirs)] = 0
                left = max(0.0, 1 - total)
                cell[:] = cell * left / cell.sum() if cell.any() else np.eye(len(cell))[0] * left
                for channel, share in theirs.items():
                    cell[channel] = share
        if frame in given:
            one_hot, known = given[frame]
            for y, x in np.ndindex(label.shape[1:]):
                cell = label[:, y, x]
                if one_hot[known, y, x].any():
                    cell[:] = one_hot[:, y, x]
                elif cell[known].any():
                    cell[known] = 0
                    cell[:] = cell / cell.sum() if cell.any() else np.eye(len(cell))[0]
        labels[frame] = label
    return labels
