"""Labels, the light step of propagation: a sparse weighted sum of the context's labels."""

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from .affinity import Affinity
from .slots import Slots
from .targets.base import AnnotatedLabel

__all__ = ["ContextLabels", "propagate_labels", "source_weights"]


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
    by_source = context_labels.permute(0, 2, 3, 1).reshape(-1, channels)  # (source, channel)
    return _weighted(by_source, affinity.sources, affinity.similarity, temperature).T.reshape(channels, *grid)


def source_weights(similarity: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return what each source weighs: softmax(similarity / temperature) over a pixel's k sources.

    Parameters
    ----------
    similarity
        (pixel, k), falling along k, as in `Affinity`; -inf where there is no source.
    temperature
        Positive.

    Returns
    -------
    torch.Tensor
        (pixel, k), summing to 1 along k; 0 where there is no source.
    """
    # The best source is subtracted before dividing: a tiny temperature must not overflow. Nor may its reciprocal, by
    # which a GPU multiplies instead: 0 times infinity.
    temperature = max(temperature, torch.finfo(similarity.dtype).tiny)
    return ((similarity - similarity[:, :1]) / temperature).softmax(1)


class ContextLabels:
    """The soft labels of a context's frames, carried along a video by one or several settings.

    Parameters
    ----------
    given
        Labels of the annotated frames by their indices, rising. The first is held from the beginning; the others are
        put over what is predicted for their frames.
    settings
        How many settings carry labels of their own.
    """

    def __init__(self, given: Mapping[int, AnnotatedLabel], settings: int = 1) -> None:
        self._given = given
        start, first = next((frame, item.label) for frame, item in given.items())
        self._shape = first.shape
        self._cells = first.shape[1] * first.shape[2]
        self._slots = Slots()
        self._held = first.new_empty((settings, 0, self._cells, first.shape[0]))
        self._put(start, first.flatten(1).T.expand(settings, -1, -1))
        self._last: tuple[int, list[torch.Tensor]] | None = None

    def advance(
        self, frame: int, context: Sequence[int], given: Sequence[tuple[Affinity, int, float]]
    ) -> list[torch.Tensor]:
        """Propagate the labels of a frame's context to it.

        Frames that are not in the context are let go: a frame that has left the context does not come back.

        Parameters
        ----------
        frame
            Index of the frame.
        context
            Indices of its context frames, into which the affinities' sources point.
        given
            Affinity, how many of its sources count, and temperature, for each setting. Settings may share an affinity.

        Returns
        -------
        list of torch.Tensor
            The frame's soft label for each setting, with what is given there: (channel, y, x), float32.
        """
        self._slots.keep(context)
        if self._last is not None and self._last[0] in context:  # in the place of a frame that has left
            self._put(self._last[0], torch.stack(self._last[1]))
        slots = torch.tensor(self._slots.of(context), device=self._held.device)
        located: dict[int, torch.Tensor] = {}
        labels = []
        for held, (affinity, top_k, temperature) in zip(self._held, given, strict=True):
            if id(affinity) not in located:
                places, cells = affinity.sources // self._cells, affinity.sources % self._cells
                located[id(affinity)] = slots[places] * self._cells + cells
            where, similarity = located[id(affinity)][:, :top_k], affinity.similarity[:, :top_k]
            labels.append(_weighted(held.flatten(0, 1), where, similarity, temperature))
        maps = [label.T.reshape(self._shape) for label in labels]
        if frame in self._given:
            maps = [self._given[frame].over(label) for label in maps]
            labels = [label.flatten(1).T for label in maps]
        self._last = frame, labels
        return maps

    def _put(self, frame: int, labels: torch.Tensor) -> None:
        """Hold a frame's labels: (setting, cell, channel)."""
        slot = self._slots.put(frame)
        if slot == self._held.shape[1]:
            self._held = torch.cat([self._held, labels[:, None]], dim=1)
        else:
            self._held[:, slot] = labels


def _weighted(
    by_source: torch.Tensor, sources: torch.Tensor, similarity: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the weighted sum of sources' labels: (source, channel) and (pixel, k) give (pixel, channel)."""
    weights = source_weights(similarity, temperature)
    # No matrix product: a process may have allowed those to be computed in TF32, off by 1e-3.
    # `embedding` looks rows up several times as fast as an index does.
    return (weights[:, :, None] * functional.embedding(sources, by_source)).sum(1)
