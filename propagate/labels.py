"""The light step of propagation: a frame's labels are a sparse weighted sum of those of its context."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch.nn import functional

from .candidate_search import FrameCandidates
from .kernels.candidates import Affinity
from .settings import WeightedSettings
from .slots import Slots
from .targets.base import AnnotatedLabel, annotation_labels

__all__ = ["ContextLabels", "label_frames", "propagate_labels", "weigh_sources"]


def label_frames(
    steps: Iterable[FrameCandidates],
    annotations: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: Sequence[WeightedSettings],
) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Propagate annotated labels along candidates, with one or several settings at once.

    Candidates are ranked once for each fusion: every top-k is the beginning of that ranking, and every temperature a
    softmax over it.

    Parameters
    ----------
    steps
        Candidates of every frame but the first annotated one, in the order of propagation. Their search had these
        frames annotated, and the settings can be read from it.
    annotations
        Labels of the annotated frames by index, on the grid and device of the candidates; or the label of frame 0,
        (channel, y, x).
    settings
        The settings; their weights are those of the parts that were searched.

    Yields
    ------
    frame : int
        Index of the frame: the first annotated one, then those of `steps`.
    labels : list of torch.Tensor
        Its soft label under each setting: (channel, y, x), float32.
    """
    labels = annotation_labels(annotations)
    context = ContextLabels(labels, len(settings))
    first = next(iter(labels))
    yield first, [labels[first].label] * len(settings)
    for step in steps:
        yield step.frame, context.advance(step.frame, step.context, weigh_sources(step, settings))


def weigh_sources(step: FrameCandidates, settings: Sequence[WeightedSettings]) -> list[tuple[Affinity, torch.Tensor]]:
    """Return each setting's affinity, of which the first k sources count, and their weights, (pixel, k)."""
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
        Labels of the annotated frames by index, rising. The first is held from the beginning; each other one is put
        over the label that is propagated to its frame.
    settings
        Number of settings.
    """

    def __init__(self, annotations: Mapping[int, AnnotatedLabel], settings: int = 1) -> None:
        self._annotations = annotations
        start, first = next((frame, item.label) for frame, item in annotations.items())
        self._shape = first.shape
        self._cells = first.shape[1] * first.shape[2]
        self._slots = Slots()
        self._held = first.new_empty((settings, 0, self._cells, first.shape[0]))
        self._put(start, first.flatten(1).T.expand(settings, -1, -1))
        self._last: tuple[int, list[torch.Tensor]] | None = None

    def advance(
        self, frame: int, context: Sequence[int], weighted: Sequence[tuple[Affinity, torch.Tensor]]
    ) -> list[torch.Tensor]:
        """Propagate the labels of a frame's context to it.

        Labels of frames outside the context are dropped: a frame that has left a context does not come back.

        Parameters
        ----------
        frame
            Index of the frame.
        context
            Indices of its context frames, which the affinities' sources index.
        weighted
            Each setting's affinity and the weights, (pixel, k), of its first k sources. Settings may share an affinity.

        Returns
        -------
        list of torch.Tensor
            The frame's soft label under each setting, annotations included: (channel, y, x), float32.
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
        maps = [label.T.reshape(self._shape) for label in labels]
        if frame in self._annotations:
            maps = [self._annotations[frame].over(label) for label in maps]
            labels = [label.flatten(1).T for label in maps]
        self._last = frame, labels
        return maps

    def hold(self, frame: int, context: Sequence[int], maps: Sequence[torch.Tensor]) -> None:
        """Take over known labels of a frame, (channel, y, x) for each setting, instead of propagating them."""
        self._enter(context)
        self._last = frame, [label.flatten(1).T for label in maps]

    def _enter(self, context: Sequence[int]) -> None:
        """Hold exactly a context's frames; the last frame takes the slot of one that has left."""
        self._slots.keep(context)
        if self._last is not None and self._last[0] in context:
            self._put(self._last[0], torch.stack(self._last[1]))

    def _put(self, frame: int, labels: torch.Tensor) -> None:
        """Hold a frame's labels: (setting, cell, channel)."""
        slot = self._slots.put(frame)
        if slot == self._held.shape[1]:
            self._held = torch.cat([self._held, labels[:, None]], dim=1)
        else:
            self._held[:, slot] = labels


def propagate_labels(sources: torch.Tensor, weights: torch.Tensor, context_labels: torch.Tensor) -> torch.Tensor:
    """Return a frame's soft label, the weighted sum of its sources' labels (TED, Algorithm 1).

    Parameters
    ----------
    sources
        (pixel, k), int64: flat indices into the context's (frame, y, x).
    weights
        (pixel, k), float32.
    context_labels
        (frame, channel, y, x), float32: the soft labels of the context, in its order.

    Returns
    -------
    torch.Tensor
        (channel, y, x), float32.
    """
    channels, *grid = context_labels.shape[1:]
    by_source = context_labels.permute(0, 2, 3, 1).reshape(-1, channels)  # (source, channel)
    return _weighted_sum(by_source, sources, weights).T.reshape(channels, *grid)


def _weighted_sum(by_source: torch.Tensor, sources: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum sources' labels: (source, channel) and (pixel, k) give (pixel, channel)."""
    # Not a matrix product: a process may allow those to be computed in TF32, which is off by 1e-3. `embedding` looks
    # rows up several times as fast as an index.
    return (weights[:, :, None] * functional.embedding(sources, by_source)).sum(1)
