"""The cheap step of propagation: a frame's labels are a sparse weighted sum of its context's labels."""

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from .candidate_search import FrameCandidates
from .kernels.candidates import Affinity
from .settings import WeightedSettings
from .slots import Slots
from .targets.base import AnnotatedLabel


def weigh_sources(step: FrameCandidates, settings: Sequence[WeightedSettings]) -> list[tuple[Affinity, torch.Tensor]]:
    """Return each setting's affinity, and the weights (pixel, k) of its first k sources.

    Candidates are ranked once for each fusion, with the largest top-k of its settings.
    """
    fusions = [item.fusion() for item in settings]
    largest: dict[object, int] = {}
    for item, fusion in zip(settings, fusions, strict=True):
        largest[fusion] = max(item.settings.top_k, largest.get(fusion, 0))
    ranked = {fusion: step.rank(fusion, largest[fusion]) for fusion in dict.fromkeys(fusions)}
    return [
        (
            ranked[fusion],
            step.spec.kernel.weights(ranked[fusion].similarity[:, : item.settings.top_k], item.settings.temperature),
        )
        for item, fusion in zip(settings, fusions, strict=True)
    ]


class ContextLabels:
    """The soft labels of a context's frames, under one or several settings.

    Parameters
    ----------
    annotations
        Labels of the annotated frames by index, rising. The first one is stored at once; each other one is
        combined with the label that is propagated to its frame (`AnnotatedLabel.over`).
    settings
        Number of settings.

    Attributes
    ----------
    joins
        By late channel, the frame of its first annotation.

    Notes
    -----
    A late channel is an exclusive channel that is first annotated after the first frame. Its object may be visible
    earlier, so earlier frames must not count as background. Its share of a pixel is computed from the sources in frames
    since its first annotation only; the other channels share the rest.
    """

    def __init__(self, annotations: Mapping[int, AnnotatedLabel], settings: int = 1) -> None:
        self._annotations = annotations
        start, first = next((frame, item.label) for frame, item in annotations.items())
        self._shape = first.shape
        self._cells = first.shape[1] * first.shape[2]
        self.joins = _join_frames(annotations)
        self._slots = Slots()
        self._held = first.new_empty((settings, 0, self._cells, first.shape[0] + len(self.joins)))
        self._put(start, self._rows(start, first).expand(settings, -1, -1))
        self._last: tuple[int, list[torch.Tensor]] | None = None

    def advance(
        self, frame: int, context: Sequence[int], weighted: Sequence[tuple[Affinity, torch.Tensor]]
    ) -> list[torch.Tensor]:
        """Propagate the labels of a frame's context to it; return its label under each setting, annotations included.

        `weighted` holds each setting's affinity and the weights, (pixel, k), of its first k sources; settings may share
        an affinity. Labels of frames outside the context are dropped, since frames never return to a context.
        """
        self._enter(context)
        slots = torch.tensor(self._slots.of(context), device=self._held.device)
        located: dict[int, torch.Tensor] = {}
        labels = []
        for held, (affinity, weights) in zip(self._held, weighted, strict=True):
            if id(affinity) not in located:
                position, cell = affinity.sources // self._cells, affinity.sources % self._cells
                located[id(affinity)] = slots[position] * self._cells + cell
            labels.append(_weighted_sum(held.flatten(0, 1), located[id(affinity)][:, : weights.shape[1]], weights))
        if self.joins:
            labels = [_without_unknown(label, list(self.joins)) for label in labels]
        maps = [label.T.reshape(self._shape) for label in labels]
        if frame in self._annotations:
            maps = [self._annotations[frame].over(label) for label in maps]
        self._last = frame, [self._rows(frame, label) for label in maps]
        return maps

    def hold(self, frame: int, context: Sequence[int], maps: Sequence[torch.Tensor]) -> None:
        """Store known labels of a frame, (channel, y, x) for each setting, instead of propagating them."""
        self._enter(context)
        self._last = frame, [self._rows(frame, label) for label in maps]

    def _rows(self, frame: int, label: torch.Tensor) -> torch.Tensor:
        """Return (cell, column): the label's channels, then for each late channel 1 if it has joined, else 0."""
        rows = label.flatten(1).T
        if not self.joins:
            return rows
        joined = rows.new_tensor([float(frame >= first) for first in self.joins.values()])
        return torch.cat([rows, joined.expand(len(rows), -1)], dim=1)

    def _enter(self, context: Sequence[int]) -> None:
        """Keep only a context's frames; the last frame takes the slot of one that has left."""
        self._slots.keep(context)
        if self._last is not None and self._last[0] in context:
            self._put(self._last[0], torch.stack(self._last[1]))

    def _put(self, frame: int, labels: torch.Tensor) -> None:
        """Store a frame's rows, (setting, cell, column)."""
        slot = self._slots.put(frame)
        if slot == self._held.shape[1]:
            self._held = torch.cat([self._held, labels[:, None]], dim=1)
        else:
            self._held[:, slot] = labels


def _join_frames(annotations: Mapping[int, AnnotatedLabel]) -> dict[int, int]:
    """Return by late channel (`ContextLabels`) the frame of its first annotation."""
    frames = iter(annotations.items())
    _, first = next(frames)
    known = set(range(len(first.label))) if first.channels is None else {0, *first.channels}
    joins: dict[int, int] = {}
    for frame, item in frames:
        if item.exclusive:
            channels = range(len(item.label)) if item.channels is None else item.channels
            joins.update({channel: frame for channel in channels if channel not in known})
            known.update(channels)
    return joins


def _without_unknown(rows: torch.Tensor, late: list[int]) -> torch.Tensor:
    """Normalise the shares of late channels by the weight of the sources since their first annotation.

    Rows, (pixel, column), hold the sum of the sources' labels, then for each late channel the weight of the sources in
    frames since its first annotation. The result, (pixel, channel), sums to 1. Pixels without a share of a late channel
    are unchanged.
    """
    labels, known = rows[:, : -len(late)], rows[:, -len(late) :]
    shares = torch.where(known > 0, labels[:, late] / known, torch.zeros_like(known))
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    total = shares.sum(1, keepdim=True)
    others = labels.clone()
    others[:, late] = 0
    rest = others.sum(1, keepdim=True)
    merged = others * torch.where(rest > 0, (1 - total) / rest, torch.zeros_like(rest))
    # If no other channel has a share, the background takes the rest.
    merged[:, :1] += torch.where(rest > 0, torch.zeros_like(rest), 1 - total)
    merged[:, late] = shares
    return torch.where(total > 0, merged, labels)


def _weighted_sum(by_source: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum sources' labels (TED, Algorithm 1): (source, channel) and (pixel, k) give (pixel, channel)."""
    # No matrix product, because a process may allow TF32, with errors of 1e-3. `embedding` looks up rows several times
    # as fast as indexing.
    return (weights[:, :, None] * functional.embedding(sources, by_source)).sum(1)
