"""The cheap step of propagation: a frame's labels are a sparse weighted sum of its context's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from .candidate_search import FrameCandidates
from .kernels.candidates import Affinity
from .settings import WeightedSettings
from .slots import Slots
from .targets.base import AnnotatedLabel
from .transfer import on_device

# Maximum number of labels that are gathered at once: a processor's cache; on a GPU, a small part of its memory.
_AT_ONCE, _AT_ONCE_ON_GPU = 2**18, 2**25


@dataclass(frozen=True, kw_only=True)
class WeightedSources:
    """The sources of a frame's pixels under each of some settings, and their weights.

    Attributes
    ----------
    affinity
        (fusion, pixel, k): the sources under each fusion.
    batches
        Settings with equal top-k: their numbers, the fusion of each, and weights, (setting, pixel, k), of the first k
        sources.
    """

    affinity: Affinity
    batches: Sequence[tuple[Sequence[int], Sequence[int], torch.Tensor]]


def weigh_sources(step: FrameCandidates, settings: Sequence[WeightedSettings]) -> WeightedSources:
    """Rank a frame's candidates once for each fusion, and weigh the sources for each setting."""
    fusions = [item.fusion() for item in settings]
    number = {fusion: at for at, fusion in enumerate(dict.fromkeys(fusions))}
    affinity = step.rank_all([*number], max(item.settings.top_k for item in settings))
    alike: dict[int, list[int]] = {}
    for at, item in enumerate(settings):
        alike.setdefault(min(item.settings.top_k, affinity.similarity.shape[-1]), []).append(at)
    batches = []
    for top_k, some in alike.items():
        of = [number[fusions[at]] for at in some]
        similarity = _selected(affinity.similarity, of, top_k)
        values = [[[settings[at].settings.temperature]] for at in some]
        temperatures = on_device(values, similarity.device, similarity.dtype)
        batches.append((some, of, step.spec.kernel.weights(similarity, temperatures)))
    return WeightedSources(affinity=affinity, batches=batches)


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
        self._put(start, self._rows(start, first[None]).expand(settings, -1, -1))
        self._last: tuple[int, torch.Tensor] | None = None

    def advance(self, frame: int, context: Sequence[int], weighted: WeightedSources) -> list[torch.Tensor]:
        """Propagate the labels of a frame's context to it; return its label under each setting, annotations included.

        Labels of frames outside the context are dropped, since frames never return to a context.
        """
        self._enter(context)
        sources = weighted.affinity.sources
        shifts = [(slot - at) * self._cells for at, slot in enumerate(self._slots.of(context))]
        moved = on_device(shifts, sources.device, sources.dtype)
        located = sources + moved[sources // self._cells]
        found: list[tuple[Sequence[int], torch.Tensor]] = []
        for settings, fusions, weights in weighted.batches:
            at_once = _AT_ONCE if weights.device.type == "cpu" else _AT_ONCE_ON_GPU
            step = max(1, at_once // (weights[0].numel() * self._held.shape[-1]))
            for start in range(0, len(settings), step):
                some = slice(start, start + step)
                own = weights if step >= len(settings) else weights[some]
                labels = self._sums(settings[some], fusions[some], located, own)
                found.append((settings[some], labels.mT.reshape(-1, *self._shape)))
        maps = found[0][1]
        if len(found) > 1:
            maps = maps.new_empty((len(self._held), *self._shape))
            for numbers, labels in found:
                maps[_as_index(numbers, maps.device)] = labels
        if frame in self._annotations:
            maps = torch.stack([self._annotations[frame].over(label) for label in maps])
        self._last = frame, self._rows(frame, maps)
        return [*maps.unbind()]

    def _sums(
        self, settings: Sequence[int], fusions: Sequence[int], located: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Sum the labels of each setting's sources: (setting, pixel, channel)."""
        located = _selected(located, fusions, weights.shape[-1])
        held = self._held[settings[0]] if len(settings) == 1 else self._held
        if len(settings) > 1:
            first = on_device([*settings], held.device) * (held.shape[1] * self._cells)
            located = located + first[:, None, None]
        labels = _weighted_sum(held.flatten(0, -2), located, weights)
        return _without_unknown(labels, list(self.joins)) if self.joins else labels

    def hold(self, frame: int, context: Sequence[int], maps: Sequence[torch.Tensor]) -> None:
        """Store known labels of a frame, (channel, y, x) for each setting, instead of propagating them."""
        self._enter(context)
        self._last = frame, self._rows(frame, torch.stack([*maps]))

    def _rows(self, frame: int, maps: torch.Tensor) -> torch.Tensor:
        """Return (setting, cell, column): the channels, then for each late channel 1 if it has joined, else 0."""
        rows = maps.flatten(2).mT
        if not self.joins:
            return rows
        joined = on_device([float(frame >= first) for first in self.joins.values()], rows.device, rows.dtype)
        return torch.cat([rows, joined.expand(*rows.shape[:2], -1)], dim=2)

    def _enter(self, context: Sequence[int]) -> None:
        """Keep only a context's frames; the last frame takes the slot of one that has left."""
        self._slots.keep(context)
        if self._last is not None and self._last[0] in context:
            self._put(*self._last)

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

    Rows, (setting, pixel, column), hold the sum of the sources' labels, then for each late channel the weight of the
    sources in frames since its first annotation. The result, (setting, pixel, channel), sums to 1. Pixels without a
    share of a late channel are unchanged.
    """
    labels, known = rows[..., : -len(late)], rows[..., -len(late) :]
    shares = torch.where(known > 0, labels[..., late] / known, torch.zeros_like(known))
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=1)
    total = shares.sum(-1, keepdim=True)
    others = labels.clone()
    others[..., late] = 0
    rest = others.sum(-1, keepdim=True)
    merged = others * torch.where(rest > 0, (1 - total) / rest, torch.zeros_like(rest))
    # If no other channel has a share, the background takes the rest.
    merged[..., :1] += torch.where(rest > 0, torch.zeros_like(rest), 1 - total)
    merged[..., late] = shares
    return torch.where(total > 0, merged, labels)


def _weighted_sum(by_source: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum sources' labels (TED, Algorithm 1): (source, channel) and (..., pixel, k) give (..., pixel, channel)."""
    # No matrix product, because a process may allow TF32, with errors of 1e-3. `embedding` looks up rows several times
    # as fast as indexing.
    return (weights[..., None] * functional.embedding(sources, by_source)).sum(-2)


def _selected(affinities: torch.Tensor, fusions: Sequence[int], top_k: int) -> torch.Tensor:
    """Return each setting's first k sources, (setting, pixel, k), of (fusion, pixel, k); a view where possible."""
    if top_k < affinities.shape[-1]:
        affinities = affinities[..., :top_k]
    if len(fusions) > 1 and len(set(fusions)) == 1:
        return affinities[fusions[0]].expand(len(fusions), -1, -1)
    return affinities if [*fusions] == [*range(len(affinities))] else affinities[_as_index(fusions, affinities.device)]


def _as_index(numbers: Sequence[int], device: torch.device) -> slice | torch.Tensor:
    """Return a slice for successive numbers, else a tensor."""
    run = slice(numbers[0], numbers[0] + len(numbers))
    return run if [*numbers] == [*range(run.start, run.stop)] else on_device([*numbers], device)
