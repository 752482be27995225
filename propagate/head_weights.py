"""Weights of attention heads, learned from frames with known labels, without a network (DRIFT-style)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from ..store import HEAD_WEIGHTS, Artifact, ArtifactSpec, Cache, Unit
from ..store.errors import ConfigError, Hint, LabelError, UnitNotFoundError
from .features import FeatureReader, FeatureVolume
from .kernels import AttentionKernel
from .kernels.window import inside_window

# Queries whose attention is in memory at once.
_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class LearnedHeads:
    """Learned weights of heads, beside the alternatives on frames that were held out.

    Attributes
    ----------
    weights
        Weight of each head of all layers, summing to 1.
    losses
        Loss on the training frames before each step.
    single
        IoU of each head alone on the held-out frames, in [0, 1].
    best_head
        The head with the lowest loss on the training frames.
    iou
        IoU on the held-out frames with the weights ``uniform``, ``best head`` and ``learned``: the mean over objects
        and frames, on the feature grid, each cell counting for its most likely object.
    held_out
        Indices of the held-out frames; without any, `single` and `iou` are those of the training frame.
    """

    weights: tuple[float, ...]
    losses: tuple[float, ...]
    single: tuple[float, ...]
    best_head: int
    iou: Mapping[str, float]
    held_out: tuple[int, ...]


def learn_head_weights(
    volumes: Sequence[FeatureVolume],
    labels: Mapping[int, torch.Tensor],
    kernel: AttentionKernel,
    *,
    radius: int = 15,
    steps: int = 300,
    rate: float = 1e-2,
    penalty: float = 1e-2,
) -> LearnedHeads:
    """Learn weights with which the first labelled frame's labels propagate best to the other labelled frames.

    Every third of the other frames is held out. The weights are softmax(theta), with theta = 0 at first, and Adam
    minimises binary cross-entropy + (1 - soft IoU of the objects) + `penalty` * KL(weights, uniform). The labels that
    each head propagates alone are computed once. Labels are summed over the whole window, without top-k.

    Parameters
    ----------
    volumes
        Queries and keys of one video's layers, which count alike.
    labels
        Labels by frame, (channel, y, x), on the grid of the finest layer, summing to 1 along the channels; the first
        channel is the background. At least three frames.
    kernel
        Its scale, comparison and other parameters; its own weights of heads are ignored.
    radius
        Half the side of the square window, in cells.
    steps, rate, penalty
        Steps and learning rate of Adam, and the weight of the penalty.

    Raises
    ------
    ConfigError
        For features that are not attention, or cannot be fused.
    LabelError
        For too few labelled frames, or labels on another grid.
    """
    reader, bound = _bind(volumes, kernel)
    first, *others = sorted(labels)
    if len(others) < 2:
        raise LabelError(f"weights of heads are learned from at least 3 labelled frames, not {len(labels)}")
    for frame in (first, *others):
        if labels[frame].shape[1:] != reader.grid:
            raise LabelError(f"the label of frame {frame} is not on the features' grid {reader.grid}")
    held_out = others[2::3] or others[-1:]
    prepared = {
        frame: bound.prepare(parts)
        for frame, parts in zip(
            (first, *others), (parts for _, parts in reader.frames(torch.device("cpu"), [first, *others])), strict=True
        )
    }
    alone = {
        frame: _labels_of_heads(bound, prepared[frame][0], prepared[first][1], labels[first], radius)
        for frame in others
    }
    training = [frame for frame in others if frame not in held_out]
    given = torch.cat([alone[frame] for frame in training], dim=2)  # (head, channel, cell)
    truth = torch.cat([labels[frame].flatten(1).float() for frame in training], dim=1)
    tested = [(alone[frame], labels[frame].flatten(1)) for frame in held_out]
    return _fit(given, truth, tested, steps=steps, rate=rate, penalty=penalty, held_out=held_out)


def learn_head_weights_from_maps(
    volumes: Sequence[FeatureVolume],
    frame: int,
    maps: torch.Tensor,
    label: torch.Tensor,
    kernel: AttentionKernel,
    *,
    steps: int = 300,
    rate: float = 1e-2,
    penalty: float = 1e-2,
) -> LearnedHeads:
    """Learn weights with which self-attention sharpens the objects' cross-attention maps to their mask, in one frame.

    Each head propagates the maps from the frame to itself, over the whole frame. Beforehand a map is stretched to
    [0, 1], and the background is what the largest map leaves of 1; a cell's labels then sum to 1. The optimisation is
    that of `learn_head_weights`. No frame is held out.

    Parameters
    ----------
    volumes
        Queries and keys of one video's layers, which count alike.
    frame
        Index of the frame.
    maps
        Cross-attention map of each object's token, (object, y, x), on any grid.
    label
        The objects' mask, (1 + object, y, x), on the grid of the finest layer; the first channel is the background.
    kernel, steps, rate, penalty
        As in `learn_head_weights`.

    Raises
    ------
    ConfigError
        For features that are not attention, or cannot be fused.
    LabelError
        For a mask on another grid or with another number of objects.
    """
    reader, bound = _bind(volumes, kernel)
    if label.shape[1:] != reader.grid or len(label) != 1 + len(maps):
        raise LabelError(f"the mask has the shape {tuple(label.shape)}, not {(1 + len(maps), *reader.grid)}")
    resized = functional.interpolate(maps[None].float(), reader.grid, mode="bilinear", align_corners=False)[0]
    least, most = resized.amin((1, 2), keepdim=True), resized.amax((1, 2), keepdim=True)
    objects = (resized - least) / (most - least).clamp(min=1e-12)
    soft = torch.cat([1 - objects.amax(0, keepdim=True), objects])
    ((_, parts),) = reader.frames(torch.device("cpu"), [frame])
    queries, keys = bound.prepare(parts)
    given = _labels_of_heads(bound, queries, keys, soft / soft.sum(0), max(reader.grid))
    truth = label.flatten(1).float()
    return _fit(given, truth, [(given, truth)], steps=steps, rate=rate, penalty=penalty)


def _bind(volumes: Sequence[FeatureVolume], kernel: AttentionKernel) -> tuple[FeatureReader, Any]:
    """Return the reader of the layers, and the kernel for them with each head apart."""
    reader = FeatureReader([(volume, 1.0) for volume in volumes])
    if not all(part.role for part in reader.parts):
        raise ConfigError("weights of heads are learned from attention alone: name taps that end in :qk")
    return reader, replace(kernel, head=-1, head_weights=(), learned=False).bind(reader.parts)


def _fit(
    given: torch.Tensor,
    truth: torch.Tensor,
    tested: Sequence[tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    rate: float,
    penalty: float,
    held_out: Sequence[int] = (),
) -> LearnedHeads:
    """Learn weights of the heads' labels (head, channel, cell) that match the truth; score them on the tested ones."""
    theta = torch.zeros(len(given), requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=rate)
    losses = []
    for _ in range(steps):
        weights = theta.softmax(0)
        loss = _loss(_mix(weights, given), truth)
        total = loss + penalty * (weights * (weights * len(weights)).log()).sum()
        losses.append(float(total.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
    weights = theta.detach().softmax(0)
    ones = torch.eye(len(weights))
    best = min(range(len(weights)), key=lambda head: float(_loss(given[head], truth)))

    def iou(mix: torch.Tensor) -> float:
        return sum(_iou(_mix(mix, alone), label) for alone, label in tested) / len(tested)

    single = tuple(map(iou, ones))
    uniform = torch.full_like(weights, 1 / len(weights))
    return LearnedHeads(
        weights=tuple(weights.tolist()),
        losses=tuple(losses),
        single=single,
        best_head=best,
        iou={"uniform": iou(uniform), "best head": single[best], "learned": iou(weights)},
        held_out=tuple(held_out),
    )


def store_head_weights(
    cache: Cache, units: Sequence[Unit], kernel: AttentionKernel, learned: LearnedHeads, about: Mapping[str, Any]
) -> Artifact:
    """Store learned weights as an artifact of the units' video; `about` describes how they were learned.

    Raises
    ------
    CacheError
        When the cache cannot be written.
    """
    spec = ArtifactSpec(
        kind=HEAD_WEIGHTS.name,
        dataset=units[0].spec.dataset,
        video=units[0].spec.video,
        request={**_layers(units, kernel), "units": [unit.content_hash for unit in units], **about},
        sizes={"head": len(learned.weights), "step": len(learned.losses)},
    )
    if cache.state(spec) != "complete":
        with cache.artifact_writer(spec) as writer:
            names = ("weights", "losses", "single")
            writer.write_shared({name: torch.tensor(getattr(learned, name)).numpy() for name in names})
            found = {"iou": dict(learned.iou), "held_out": list(learned.held_out), "best_head": learned.best_head}
            writer.finish(found)
    return Artifact(spec.folder(cache.root))


def find_head_weights(cache: Cache, units: Sequence[Unit], kernel: AttentionKernel) -> tuple[float, ...]:
    """Return the weights that were learned for a video's name from the same layers and with the same kernel.

    Raises
    ------
    UnitNotFoundError
        When there are none, or several.
    """
    wanted, spec = _layers(units, kernel), units[0].spec
    found = [
        entry
        for entry in cache.artifacts(HEAD_WEIGHTS.name, video=spec.video)
        if entry.state == "complete" and wanted.items() <= dict(entry.spec.request).items()
    ]
    video = f"{spec.dataset}/{spec.video}"
    if not found:
        message = f"no weights of heads have been learned for {video} from these layers"
        raise UnitNotFoundError(message, hint=Hint("learn-heads"))
    if len(found) > 1:
        message = f"{len(found)} sets of weights of heads have been learned for {video} from these layers"
        raise UnitNotFoundError(message, hint=Hint("remove-others", {"kind": HEAD_WEIGHTS.name}))
    return tuple(found[0].open()["weights"][...].tolist())


def with_learned_heads(cache: Cache, units: Sequence[Unit], kernel: Any) -> Any:
    """Return a kernel with the weights that were learned for the video, if it asks for them; others unchanged."""
    if not (isinstance(kernel, AttentionKernel) and kernel.learned):
        return kernel
    attention = [unit for unit in units if unit.spec.tap.rpartition(":")[2] in ("qk", "q", "k")]
    return replace(kernel, learned=False, head_weights=find_head_weights(cache, attention, kernel))


def _layers(units: Sequence[Unit], kernel: AttentionKernel) -> dict[str, Any]:
    layers = [[unit.request.backbone, unit.request.weights, unit.spec.timestep, unit.spec.tap] for unit in units]
    return {"layers": layers, "scale": kernel.scale, "compare": kernel.compare}


def _labels_of_heads(
    kernel: AttentionKernel, queries: torch.Tensor, keys: torch.Tensor, label: torch.Tensor, radius: int
) -> torch.Tensor:
    """Return the labels that each head propagates from one frame to another, (head, channel, cell)."""
    height, width = queries.shape[1:3]
    cells = torch.arange(height * width)
    by_source = label.flatten(1).T.float()
    blocks = []
    for some in torch.split(cells, _AT_ONCE):
        inside = inside_window(
            cells // width - (some // width)[:, None], cells % width - (some % width)[:, None], radius, "square"
        )
        attention = kernel.attention(queries.flatten(1, 2)[:, some], keys.flatten(1, 2), inside, (len(cells),))
        blocks.append(torch.stack([(one @ by_source).T for one in attention]))
    return torch.cat(blocks, dim=2)


def _mix(weights: torch.Tensor, alone: torch.Tensor) -> torch.Tensor:
    return (weights[:, None, None] * alone).sum(0)


def _loss(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return binary cross-entropy + 1 - soft IoU of the objects; labels are (channel, cell)."""
    entropy = functional.binary_cross_entropy(found.clamp(1e-6, 1 - 1e-6), truth)
    both = (found * truth)[1:].sum(1)
    union = (found + truth)[1:].sum(1) - both
    return entropy + 1 - (both / union.clamp(min=1e-6)).mean()


def _iou(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the mean IoU of the objects in the truth, of the most likely object of each cell."""
    chosen, right = found.argmax(0), truth.argmax(0)
    objects = [channel for channel in range(1, len(truth)) if bool((right == channel).any())]
    shares = [
        float(((chosen == channel) & (right == channel)).sum() / ((chosen == channel) | (right == channel)).sum())
        for channel in objects
    ]
    return sum(shares) / max(1, len(shares))
