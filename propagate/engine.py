"""Propagation through one video: affinities, then labels, frame by frame, in memory bounded by the context."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..store.errors import LabelError
from .affinity import Affinity, frame_affinity
from .context import context_frames
from .labels import propagate_labels
from .settings import PropagationSettings
from .sources import Part, Sources

__all__ = ["FrameAffinity", "affinities", "label_frames", "propagate"]

#: The frames whose labels are given: today, the first.
_ANNOTATED = (0,)


@dataclass(frozen=True, kw_only=True)
class FrameAffinity:
    """A frame's affinity with its context.

    Attributes
    ----------
    frame
        Index of the frame.
    context
        Indices of its context frames: the first axis of what `Affinity.sources` points into.
    affinity
        On the grid of the finest features.
    """

    frame: int
    context: tuple[int, ...]
    affinity: Affinity


def affinities(
    parts: Sequence[Part], settings: PropagationSettings, *, device: torch.device | str = "cpu"
) -> Iterator[FrameAffinity]:
    """Compute the affinities of a video annotated in its first frame: the step that depends on no label.

    The features of the context's frames and of one block more are in memory, whatever the length of the video; each
    frame is read once.

    Parameters
    ----------
    parts
        Features and their weights; for TED's two, video and image, the weights are `part_weights` of alpha.
        A part of weight 0 is not read.
    settings
        `top_k`, `radius`, `context` and `renormalize` are used here.
    device
        Where to compute.

    Returns
    -------
    iterator of FrameAffinity
        For frames 1, 2, ...; nothing for a video of one frame.

    Raises
    ------
    ConfigError
        For parts that cannot be fused (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached).
    """
    return _affinities(Sources(parts), settings, torch.device(device))


def label_frames(
    affinities: Iterable[FrameAffinity], first_label: torch.Tensor, temperature: float
) -> Iterator[tuple[int, torch.Tensor]]:
    """Carry the first frame's label along affinities: the light step, in the order of the video.

    Parameters
    ----------
    affinities
        As `affinities` yields them.
    first_label
        (channel, y, x), float32, on the affinities' grid and device.
    temperature
        Of the softmax over kept sources.

    Yields
    ------
    frame : int
        Index of the frame, from 1.
    label : torch.Tensor
        Its soft label: (channel, y, x), float32.
    """
    labels = dict.fromkeys(_ANNOTATED, first_label)
    for step in affinities:
        # A frame that has left the context does not come back.
        labels = {frame: labels[frame] for frame in step.context}
        label = propagate_labels(step.affinity, torch.stack(list(labels.values())), temperature)
        labels[step.frame] = label
        yield step.frame, label


def propagate(
    parts: Sequence[Part],
    first_label: torch.Tensor,
    settings: PropagationSettings,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Propagate the first frame's label through a video (TED, Algorithm 1).

    Parameters
    ----------
    parts
        Features and their weights; for TED's two, video and image, the weights are `part_weights` of alpha (it is
        these weights that count, not `settings.alpha`). A part of weight 0 is not read.
    first_label
        Soft label of frame 0: (channel, y, x) on the grid of the finest part (`Sources.grid`).
    settings
        Parameters.
    device
        Where to compute.
    progress
        Called after each frame with the number of frames done and the number of frames.

    Returns
    -------
    iterator of (int, torch.Tensor)
        Index and soft label, (channel, y, x), float32, on `device`, of every frame; the first is the given one.

    Raises
    ------
    ConfigError
        For parts that cannot be fused (at once).
    LabelError
        For a label that is not on the features' grid (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached).
    """
    sources = Sources(parts)
    if first_label.ndim != 3 or tuple(first_label.shape[1:]) != sources.grid:
        raise LabelError(
            f"the first label must be (channel, y, x) on the features' grid {sources.grid}, "
            f"not of shape {tuple(first_label.shape)}"
        )
    label = first_label.to(torch.device(device), torch.float32)

    def every_frame() -> Iterator[tuple[int, torch.Tensor]]:
        yield 0, label
        yield from label_frames(_affinities(sources, settings, torch.device(device)), label, settings.temperature)

    return _reporting(every_frame(), sources.frame_count, progress)


def _affinities(sources: Sources, settings: PropagationSettings, device: torch.device) -> Iterator[FrameAffinity]:
    held: dict[int, tuple[torch.Tensor, ...]] = {}
    for frame, features in enumerate(sources.frames(device)):
        if frame not in _ANNOTATED:
            context = context_frames(frame, _ANNOTATED, settings.context)
            held = {index: held[index] for index in context}
            affinity = frame_affinity(
                features,
                list(zip(*held.values(), strict=True)),
                sources.weights,
                settings.radius,
                settings.top_k,
                settings.renormalize,
            )
            yield FrameAffinity(frame=frame, context=context, affinity=affinity)
        held[frame] = features


def _reporting(
    labels: Iterator[tuple[int, torch.Tensor]], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, torch.Tensor]]:
    for done, item in enumerate(labels, 1):
        if progress is not None:
            progress(done, total)
        yield item
