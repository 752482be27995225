"""Propagation through one video: affinities, then labels, frame by frame, in memory bounded by the context."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ..store.errors import ConfigError
from .affinity import Affinity
from .context import fixed_frames, frame_context, propagation_order
from .features import FeatureReader, FeatureVolume, Part
from .fusion import Fusion
from .kernels.cosine.candidates import Candidates, find_candidates
from .kernels.cosine.keys import Keys
from .kernels.cosine.precision import Precision, best_precision
from .labels import ContextLabels
from .ranking import rank
from .settings import PropagationSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels, check_annotations

__all__ = ["FrameAffinity", "FrameCandidates", "affinities", "label_frames", "propagate", "search"]


@dataclass(frozen=True, kw_only=True)
class FrameCandidates:
    """The sources in a frame's context that some fusion of a search wants.

    Attributes
    ----------
    frame
        Index of the frame.
    context
        Indices of its context frames: the first axis of what `Candidates.sources` points into.
    annotated
        How many of these have a given label: they come first.
    grid
        (y, x) of the finest features.
    candidates
        On that grid.
    """

    frame: int
    context: tuple[int, ...]
    annotated: int
    grid: tuple[int, int]
    candidates: Candidates

    def to(self, device: torch.device | str) -> "FrameCandidates":
        """Return the same on another device."""
        found = self.candidates
        moved = Candidates(
            sources=found.sources.to(device), cosines=found.cosines.to(device), bounds=found.bounds.to(device)
        )
        return replace(self, candidates=moved)

    def rank(self, fusion: Fusion, top_k: int) -> Affinity:
        """Return the k most similar sources of each pixel under a fusion; see `rank`."""
        return rank(self.candidates, fusion, top_k, grid=self.grid, frames=len(self.context), annotated=self.annotated)


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


def search(
    volumes: Sequence[FeatureVolume],
    wanted: SearchSpec,
    *,
    frames: range | None = None,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
) -> Iterator[FrameCandidates]:
    """Find the sources that fusions of a video's features need: the heavy step, which depends on no label.

    The features of the context's frames and of a few more are in memory, whatever the length of the video; each frame
    is read once.

    Parameters
    ----------
    volumes
        The parts: features of one video.
    wanted
        What to look for.
    frames
        Indices of frames, a run of them; all by default. Their contexts are read, too.
    device
        Where to compute.
    precision
        Of the matrix products that admit sources. It does not change the result. By default, what the device is
        fastest at.

    Returns
    -------
    iterator of FrameCandidates
        In the order of propagation: for the frames after the first annotated one, then, backward, those before it.

    Raises
    ------
    ConfigError
        For parts that cannot be fused, or frames that do not exist (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached).
    """
    sources = FeatureReader([(volume, 1.0) for volume in volumes])
    if len(wanted.fusions[0].weights) != len(volumes):
        raise ConfigError(f"fusions weigh {len(wanted.fusions[0].weights)} parts; there are {len(volumes)}")
    run = range(sources.frame_count) if frames is None else frames
    if run.step != 1 or not (0 <= run.start <= run.stop <= sources.frame_count):
        raise ConfigError(f"there is no such run of frames as {run}; the video has {sources.frame_count}")
    if wanted.annotated[-1] >= sources.frame_count:
        raise ConfigError(f"frame {wanted.annotated[-1]} is annotated; the video has {sources.frame_count} frames")
    return _search(sources, wanted, run, torch.device(device), precision)


def affinities(
    parts: Sequence[Part],
    settings: PropagationSettings,
    *,
    annotated: tuple[int, ...] = (0,),
    device: torch.device | str = "cpu",
) -> Iterator[FrameAffinity]:
    """Compute the affinities of a video for one setting.

    Parameters
    ----------
    parts
        Features and their weights; for TED's two, video and image, the weights are `part_weights` of alpha. A part of
        weight 0 is not read.
    settings
        `top_k`, `radius`, `context` and `renormalize` are used here.
    annotated
        Indices of the frames with a given label, rising.
    device
        Where to compute.

    Returns
    -------
    iterator of FrameAffinity
        In the order of propagation: for frames 1, 2, ... if the first is annotated; nothing for a video of one frame.

    Raises
    ------
    ConfigError
        For parts that cannot be fused (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached).
    """
    sources = FeatureReader(parts)
    fusion = Fusion(weights=sources.weights, context=settings.context, renormalize=settings.renormalize)
    wanted = SearchSpec(radius=settings.radius, top_k=settings.top_k, fusions=(fusion,), annotated=annotated)
    steps = _search(sources, wanted, range(sources.frame_count), torch.device(device), None)
    return (
        FrameAffinity(frame=step.frame, context=step.context, affinity=step.rank(fusion, settings.top_k))
        for step in steps
    )


def label_frames(
    affinities: Iterable[FrameAffinity],
    given: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: PropagationSettings,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Carry given labels along affinities: the light step, in the order of propagation.

    Parameters
    ----------
    affinities
        As `affinities` yields them, of the frames annotated here.
    given
        Labels of the annotated frames, on the affinities' grid and device; or that of frame 0, (channel, y, x).
    settings
        `top_k` and `temperature` are used here.

    Yields
    ------
    frame : int
        Index of the frame; the first annotated one is left out.
    label : torch.Tensor
        Its soft label: (channel, y, x), float32.
    """
    labels = ContextLabels(annotation_labels(given))
    for step in affinities:
        (label,) = labels.advance(step.frame, step.context, [(step.affinity, settings.top_k, settings.temperature)])
        yield step.frame, label


def propagate(
    parts: Sequence[Part],
    given: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: PropagationSettings,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Propagate given labels through a video (TED, Algorithm 1).

    From the first annotated frame on, labels travel forward, and every annotated frame on the way stays in the context
    of all that follow it; frames before the first are then reached backward, from it alone (docs/reference/engine.md).

    Parameters
    ----------
    parts
        Features and their weights; for TED's two, video and image, the weights are `part_weights` of alpha. A part of
        weight 0 is not read.
    given
        Labels of the annotated frames by their indices, on the grid of the finest part (`FeatureReader.grid`), as a
        target encodes them; or the soft label of frame 0, (channel, y, x).
    settings
        Parameters.
    device
        Where to compute.
    progress
        Called after each frame with the number of frames done and the number of frames.

    Returns
    -------
    iterator of (int, torch.Tensor)
        Index and soft label, (channel, y, x), float32, on `device`, of every frame, in the order of propagation: the
        first annotated one, as given, those after it, and those before it, backward.

    Raises
    ------
    ConfigError
        For parts that cannot be fused (at once).
    LabelError
        For labels that are not on the features' grid, or none (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached).
    """
    sources = FeatureReader(parts)
    labels = annotation_labels(given, device)
    check_annotations(labels, sources.grid, sources.frame_count)
    first = next(iter(labels))
    steps = affinities(parts, settings, annotated=tuple(labels), device=device)

    def every_frame() -> Iterator[tuple[int, torch.Tensor]]:
        yield first, labels[first].label
        yield from label_frames(steps, labels, settings)

    return _reporting(every_frame(), sources.frame_count, progress)


def _search(
    sources: FeatureReader, wanted: SearchSpec, run: range, device: torch.device, precision: Precision | None
) -> Iterator[FrameCandidates]:
    precision = precision or best_precision(device, torch.get_num_threads())
    for frames in propagation_order(run, wanted.annotated):
        yield from _one_way(sources, wanted, frames, device, precision)


def _one_way(
    sources: FeatureReader, wanted: SearchSpec, frames: range, device: torch.device, precision: Precision
) -> Iterator[FrameCandidates]:
    """Search frames that follow each other, and all come after their contexts."""
    contexts = {frame: frame_context(frame, wanted.annotated, wanted.context) for frame in frames}
    if not contexts:
        return
    needed = {*contexts, *(frame for context in contexts.values() for frame in context)}
    keys = Keys(max(map(len, contexts.values())), precision)
    last: tuple[int, tuple[torch.Tensor, ...]] | None = None
    for frame, features in sources.frames(device, sorted(needed, reverse=frames.step < 0)):
        if frame in contexts:
            context = contexts[frame]
            # The frame before takes the place of one that has left the context.
            keys.slots.keep(context)
            if last is not None and last[0] in context:
                keys.put(*last)
            annotated = len(fixed_frames(frame, wanted.annotated))
            found = find_candidates(features, keys, context, wanted, annotated=annotated)
            yield FrameCandidates(
                frame=frame, context=context, annotated=annotated, grid=sources.grid, candidates=found
            )
        elif last is not None:
            keys.put(*last)
        last = frame, features


def _reporting(
    labels: Iterator[tuple[int, torch.Tensor]], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, torch.Tensor]]:
    for done, item in enumerate(labels, 1):
        if progress is not None:
            progress(done, total)
        yield item
