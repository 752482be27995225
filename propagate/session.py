"""A tracking session: update a video's labels after changes of annotations and settings, exactly and cheaply."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch

from ..store.errors import LabelError, TedError
from .candidate_search import FrameCandidates, search
from .context import positions_within, propagation_order
from .features import FeatureReader, FeatureVolume, Part
from .kernels.candidates import Affinity, Candidates
from .labels import ContextLabels, weigh_sources
from .settings import PropagationSettings, WeightedSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels, check_annotations

__all__ = ["SessionCancelled", "SessionRun", "TrackingSession"]

# Search at least this many sources per pixel, so that a larger top-k can be tried.
_FEWEST_HELD = 16


class SessionCancelled(TedError):
    """The session was cancelled before all frames were labelled. Computed frames are reused by the next run."""


@dataclass(kw_only=True)
class SessionRun:
    """Statistics of one run of a session, in numbers of frames.

    Attributes
    ----------
    searched
        Frames whose sources were searched for in the features.
    reused
        Frames that were labelled again from candidates in memory.
    unchanged
        Frames whose labels cannot have changed, and were not computed again.
    """

    searched: int = 0
    reused: int = 0
    unchanged: int = 0


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A frame's candidates in memory, and the indices of the parts that were searched."""

    parts: tuple[int, ...]
    step: FrameCandidates

    @property
    def bytes(self) -> int:
        found = self.step.candidates
        return found.sources.nbytes + found.scores.nbytes + found.bounds.nbytes


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A computed label, its inputs, and a version number that changes with its value."""

    label: torch.Tensor
    inputs: tuple[Any, ...]
    version: int


class TrackingSession:
    """Track a video's annotations interactively, while annotations and settings change.

    Labels always equal those of `propagate` with the current annotations and settings, to the last bit. A frame is
    labelled again only if its inputs have changed. Candidates stay in memory, and are reused for another temperature, a
    smaller top-k, a shorter context, and for other weights if the kernel proves that they contain the best sources. For
    all other frames the features are searched again.

    Parameters
    ----------
    parts
        Features of one video and their weights. A part of weight 0 is not read.
    settings
        Parameters.
    annotations
        Labels of the annotated frames by index, on the grid of the finest part with a weight; or the label of frame 0.
    device
        Device to compute on.
    memory
        Maximum size in bytes of candidates and labels in memory, at least 0. Others are computed again when needed.

    Attributes
    ----------
    settings
        Parameters; may be set.
    weights
        The weight of each part; may be set.
    last_run
        Statistics of the last call of `labels` so far.

    Raises
    ------
    ConfigError
        For parts that cannot be fused.

    Examples
    --------
    >>> session = TrackingSession(parts, settings, {0: label})  # doctest: +SKIP
    >>> for frame, label in session.labels():  # doctest: +SKIP
    ...     show(frame, label)
    >>> session.annotate(40, correction)  # doctest: +SKIP
    >>> session.settings = replace(session.settings, temperature=0.1)  # doctest: +SKIP
    >>> labels = dict(session.labels())  # doctest: +SKIP
    """

    def __init__(
        self,
        parts: Sequence[Part],
        settings: PropagationSettings,
        annotations: torch.Tensor | Mapping[int, AnnotatedLabel] | None = None,
        *,
        device: torch.device | str = "cpu",
        memory: int = 2**30,
    ) -> None:
        self._volumes: tuple[FeatureVolume, ...] = tuple(volume for volume, _ in parts)
        self.weights = tuple(weight for _, weight in parts)
        self.settings = settings
        self.last_run = SessionRun()
        self._device = torch.device(device)
        self._memory = memory
        self._annotations: dict[int, AnnotatedLabel] = {}
        self._annotated_at: dict[int, int] = {}  # frame -> version of its annotation
        self._version = 0
        self._used = 0  # bytes of `_held` and `_known`
        self._region: tuple[Any, ...] | None = None  # `SearchSpec.region` of `_held`
        self._held: dict[int, _Held] = {}
        self._known: dict[int, _Known] = {}
        self._cancelled = threading.Event()
        self._reader()  # raises if the parts cannot be fused
        if annotations is not None:
            for frame, label in annotation_labels(annotations).items():
                self.annotate(frame, label)

    @property
    def annotations(self) -> Mapping[int, AnnotatedLabel]:
        """The labels of the annotated frames by index, rising."""
        return dict(sorted(self._annotations.items()))

    @property
    def grid(self) -> tuple[int, int]:
        """(y, x) of the finest part with a weight: the grid of the labels."""
        return self._reader().grid

    def annotate(self, frame: int, label: AnnotatedLabel | torch.Tensor) -> None:
        """Add the label of a frame, or correct it. A tensor, (channel, y, x), annotates all channels."""
        annotated = AnnotatedLabel(label=label) if isinstance(label, torch.Tensor) else label
        (self._annotations[frame],) = annotation_labels({frame: annotated}, self._device).values()
        self._annotated_at[frame] = self._next_version()

    def remove(self, frame: int) -> None:
        """Remove the annotation of a frame; raises LabelError if there is none."""
        if frame not in self._annotations:
            raise LabelError(f"frame {frame} is not annotated")
        del self._annotations[frame], self._annotated_at[frame]

    def cancel(self) -> None:
        """Stop the current `labels` before its next frame. May be called from any thread."""
        self._cancelled.set()

    def labels(self, *, cancelled: Callable[[], bool] = lambda: False) -> Iterator[tuple[int, torch.Tensor]]:
        """Label the video with the current annotations and settings.

        Annotations and settings must not change before the last frame.

        Parameters
        ----------
        cancelled
            Called before each frame; True cancels as `cancel` does.

        Returns
        -------
        iterator of (int, torch.Tensor)
            Index and soft label, (channel, y, x), float32, of every frame, in the order of `propagate`. The tensors
            belong to the session: do not write to them.

        Raises
        ------
        ConfigError
            For parts that cannot be fused (at once).
        LabelError
            For annotations that are not on the features' grid, or none (at once).
        CorruptUnitError
            For features that are not finite (when their frame is reached).
        SessionCancelled
            When the session is cancelled.
        """
        reader = self._reader()
        annotations = self.annotations
        check_annotations(annotations, reader.grid, reader.frame_count)
        self._cancelled.clear()
        self.last_run = SessionRun()
        return self._labels(reader, annotations, cancelled)

    def _labels(
        self, reader: FeatureReader, annotations: Mapping[int, AnnotatedLabel], cancelled: Callable[[], bool]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        current = WeightedSettings(weights=self.weights, settings=self.settings)
        annotated = tuple(annotations)
        candidates = _CandidatesOf(self, reader, current, annotated)
        context_labels = ContextLabels(annotations)
        versions: dict[int, int] = {}
        for frame in chain(annotated[:1], *propagation_order(range(reader.frame_count), annotated)):
            if self._cancelled.is_set() or cancelled():
                raise SessionCancelled("tracking was cancelled")
            context = candidates.context(frame) if frame != annotated[0] else ()
            inputs = (
                current,
                context,
                tuple(versions[other] for other in context),
                self._annotated_at.get(frame),
                tuple((channel, first) for channel, first in context_labels.joins.items() if first <= frame),
                reader.grid,
            )
            known = self._known.get(frame)
            if known is not None and known.inputs == inputs:
                label, version = known.label, known.version
                if context:
                    self.last_run.unchanged += 1
                    context_labels.hold(frame, context, [label])
            else:
                if context:
                    (label,) = context_labels.advance(frame, context, [candidates.weighted(frame)])
                else:
                    label = annotations[frame].label
                same = known is not None and torch.equal(known.label, label)
                version = known.version if known is not None and same else self._next_version()
                self._keep_label(frame, _Known(label=label, inputs=inputs, version=version))
            versions[frame] = version
            yield frame, label

    def _reader(self) -> FeatureReader:
        return FeatureReader(list(zip(self._volumes, self.weights, strict=True)))

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    def _keep_label(self, frame: int, known: _Known) -> None:
        old = self._known.pop(frame, None)
        self._used += known.label.nbytes - (0 if old is None else old.label.nbytes)
        if self._used <= self._memory:
            self._known[frame] = known
        else:
            self._used -= known.label.nbytes

    def _keep_candidates(self, frame: int, held: _Held) -> None:
        region = held.step.spec.region
        if self._region != region:  # all candidates in memory are of another kernel or window
            self._used -= sum(other.bytes for other in self._held.values())
            self._held.clear()
            self._region = region
        if frame in self._held:
            self._used -= self._held.pop(frame).bytes
        if self._used + held.bytes <= self._memory:
            self._held[frame] = held
            self._used += held.bytes


class _CandidatesOf:
    """Candidates of the frames of one run: from memory if they contain the best sources, otherwise searched now."""

    def __init__(
        self, session: TrackingSession, reader: FeatureReader, current: WeightedSettings, annotated: tuple[int, ...]
    ) -> None:
        self._session = session
        self._current = current
        self._parts = current.used_parts
        self._grid = reader.grid
        self._first = annotated[0]
        self._frame_count = reader.frame_count
        top_k = max(current.settings.top_k, _FEWEST_HELD)
        self._spec = SearchSpec.of(current.settings, [current.fusion(self._parts)], annotated=annotated, top_k=top_k)
        self._served: dict[int, WeightedSettings | None] = {}
        self._found: Iterator[FrameCandidates] = iter(())
        self._expected: list[int] = []  # frames that `_found` will yield

    def context(self, frame: int) -> tuple[int, ...]:
        """Return the context of a frame."""
        return self._spec.frame_context(frame)[0]

    def weighted(self, frame: int) -> tuple[Affinity, torch.Tensor]:
        """Return a frame's affinity with its context, and the weights of its first k sources, (pixel, k)."""
        run, served = self._session.last_run, self._serves(frame)
        if served is not None:
            run.reused += 1
            return self._weigh(_unpacked(self._session._held[frame].step), served, frame)
        run.searched += 1
        if frame not in self._expected:
            self._expected = self._missing_from(frame)
            frames = range(min(self._expected), max(self._expected) + 1)
            volumes = [self._session._volumes[part] for part in self._parts]
            self._found = search(volumes, self._spec, frames=frames, device=self._session._device)
        step = next(found for found in self._found if found.frame == frame)
        self._session._keep_candidates(frame, _Held(parts=self._parts, step=_packed(step)))
        return self._weigh(step, self._current.of_parts(self._parts), frame)

    def _missing_from(self, frame: int) -> list[int]:
        """Return a frame and its successors in the order of propagation, up to the next with usable candidates."""
        ahead = range(frame, self._frame_count) if frame > self._first else range(frame, -1, -1)
        missing: list[int] = []
        for other in ahead:
            if self._serves(other) is not None:
                break
            missing.append(other)
        return missing

    def _serves(self, frame: int) -> WeightedSettings | None:
        """Return the setting for a frame's candidates in memory if they contain the best sources, else None."""
        if frame not in self._served:
            self._served[frame] = self._setting_of_held(frame)
        return self._served[frame]

    def _setting_of_held(self, frame: int) -> WeightedSettings | None:
        held = self._session._held.get(frame)
        if held is None or held.step.grid != self._grid or held.step.spec.region != self._spec.region:
            return None
        if not set(self._parts) <= set(held.parts):
            return None
        step, settings = held.step, self._current.settings
        if step.context == self.context(frame):
            # Until a context is full, it is the same for all lengths.
            settings = replace(settings, context=step.spec.context)
        elif self._shorter(step, settings.context) != self.context(frame):
            return None
        if step.annotated != self._spec.frame_context(frame)[1]:
            return None
        setting = WeightedSettings(weights=tuple(self._current.weights[part] for part in held.parts), settings=settings)
        step = _unpacked(step)
        served = step.spec.kernel.serves(step.spec, setting.fusion(), settings.top_k)
        return setting if served or bool(step.proven(setting.fusion(), settings.top_k).all()) else None

    def _weigh(self, step: FrameCandidates, setting: WeightedSettings, frame: int) -> tuple[Affinity, torch.Tensor]:
        ((affinity, weights),) = weigh_sources(step, [setting])
        if step.context == self.context(frame):
            return affinity, weights
        # Map the frames of a longer context to the numbers of the shorter one. Empty slots map to position 0.
        cells = self._grid[0] * self._grid[1]
        positions = positions_within(len(step.context), step.annotated, setting.settings.context)
        number = torch.zeros(len(step.context), dtype=torch.int64, device=affinity.sources.device)
        number[positions] = torch.arange(len(positions), device=number.device)
        sources = number[affinity.sources // cells] * cells + affinity.sources % cells
        return Affinity(sources=sources, similarity=affinity.similarity), weights

    @staticmethod
    def _shorter(step: FrameCandidates, context: int) -> tuple[int, ...]:
        return tuple(step.context[at] for at in positions_within(len(step.context), step.annotated, context))


def _packed(step: FrameCandidates) -> FrameCandidates:
    """Store indices in int32, half the memory."""
    return _with_sources(step, torch.int32)


def _unpacked(step: FrameCandidates) -> FrameCandidates:
    return _with_sources(step, torch.int64)


def _with_sources(step: FrameCandidates, dtype: torch.dtype) -> FrameCandidates:
    found = step.candidates
    return replace(
        step, candidates=Candidates(sources=found.sources.to(dtype), scores=found.scores, bounds=found.bounds)
    )
