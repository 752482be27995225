"""Searches of single frames and of whole videos, for tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ted.propagate import (
    Affinity,
    AnnotatedLabel,
    Candidates,
    CosineKernel,
    FeatureReader,
    Fusion,
    Part,
    PropagationSettings,
    SearchSpec,
    WeightedSettings,
    part_weights,
    search,
)
from ted.propagate.kernels.cosine.index import CosineIndex
from ted.propagate.kernels.cosine.precision import FLOAT32, Precision
from ted.propagate.labels import ContextLabels, WeightedSources


@dataclass(frozen=True, kw_only=True)
class FrameAffinity:
    """A frame's affinity with its context."""

    frame: int
    context: tuple[int, ...]
    affinity: Affinity


def affinities(
    parts: Sequence[Part], settings: PropagationSettings, annotated: tuple[int, ...] = (0,)
) -> Iterator[FrameAffinity]:
    """Yield the affinity of each frame but the first annotated one, in the order of propagation."""
    fusion = WeightedSettings(weights=FeatureReader(parts).weights, settings=settings).fusion()
    spec = SearchSpec.of(settings, [fusion], annotated=annotated)
    for step in search([volume for volume, weight in parts if weight > 0], spec):
        yield FrameAffinity(frame=step.frame, context=step.context, affinity=step.rank(fusion, settings.top_k))


def find_candidates(
    query: Sequence[torch.Tensor],
    context: Sequence[torch.Tensor],
    spec: SearchSpec,
    *,
    precision: Precision = FLOAT32,
    budget: int | None = None,
    annotated: int = 1,
) -> Candidates:
    """Search a single frame's context: unit vectors (y, x, channel) and (frame, y, x, channel), one tensor per part."""
    index = CosineIndex(spec, len(context[0]), precision=precision, budget=budget)
    for frame in range(len(context[0])):
        index.add(frame, [part[frame] for part in context])
    return index.search(query, range(len(context[0])), annotated)


def frame_affinity(
    query: Sequence[torch.Tensor],
    context: Sequence[torch.Tensor],
    weights: Sequence[float],
    radius: int,
    top_k: int,
    renormalize: bool = True,
    **options: object,
) -> Affinity:
    """Return the k most similar sources of every pixel of a single frame, from all context frames together."""
    whole = Fusion(weights=tuple(weights), context=0, renormalize=renormalize)
    used = [part for part, weight in enumerate(whole.weights) if weight > 0]
    frames = len(context[used[0]])
    fusion = Fusion(weights=tuple(weights[part] for part in used), context=frames - 1, renormalize=renormalize)
    spec = SearchSpec(radius=radius, top_k=top_k, fusions=(fusion,))
    found = find_candidates(
        [query[part] for part in used], [context[part] for part in used], spec, **options  # type: ignore[arg-type]
    )  # fmt: skip
    height, width = query[used[0]].shape[:2]
    return spec.kernel.rank(found, fusion, top_k, cells=height * width, frames=frames)


def label_of(affinity: Affinity, context_labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the soft label of a frame, by a softmax over its sources, from labels (frame, channel, y, x)."""
    context = ContextLabels({0: AnnotatedLabel(label=context_labels[0])})
    for frame in range(1, len(context_labels)):
        context.hold(frame, range(frame), [context_labels[frame]])
    found = Affinity(sources=affinity.sources[None], similarity=affinity.similarity[None])
    weights = CosineKernel().weights(found.similarity, temperature)
    weighted = WeightedSources(affinity=found, batches=[([0], [0], weights)])
    (label,) = context.advance(len(context_labels), range(len(context_labels)), weighted)
    return label


def weighted(alpha: float, **values: object) -> WeightedSettings:
    """Return the setting of two parts with alpha."""
    return WeightedSettings(weights=part_weights(alpha), settings=PropagationSettings(**values))  # type: ignore[arg-type]
