"""A tracking session: a video's labels, updated after changes of annotations and settings, exactly and cheaply."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import Any

import torch

from ..store.errors import LabelError, TedError
from .candidate_search import CandidateSource, FeatureSearch, FoundCandidates, FrameCandidates
from .context import fixed_frames, frame_context, positions_within, propagation_order
from .features import Part
from .kernels.candidates import Affinity
from .labels import ContextLabels, WeightedSources, weigh_sources
from .settings import PropagationSettings, WeightedSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels, check_annotations

# Search at least this many sources per pixel if candidates stay in memory, so that a larger top-k can be tried.
_FEWEST_HELD = 16


#: Function of a frame and its label, (channel, y, x), float32, that returns another label of the same shape.
Correct = Callable[[int, torch.Tensor], torch.Tensor]


class SessionCancelled(TedError):
    """The session was cancelled before all frames were labelled. Computed frames are reused by the next run."""


@dataclass(kw_only=True)
class SessionRun:
    """Numbers of frames of one run of a session.

    Candidates of `searched` frames were found in features or in the cache; `reused` frames were labelled again from
    candidates in memory; labels of `unchanged` frames cannot have changed and were not computed again.
    """

    searched: int = 0
    reused: int = 0
    unchanged: int = 0


@dataclass(frozen=True, kw_only=True)
class FrameAffinity:
    """A frame's sources and their weights.

    Attributes
    ----------
    frame
        Index of the frame.
    context
        Indices of its context frames, the first axis of the affinity's flat indices.
    affinity
        The k best sources of each pixel.
    weights
        (pixel, k), float32, summing to 1 along k: the weights with which the sources' labels are summed.
    """

    frame: int
    context: tuple[int, ...]
    affinity: Affinity
    weights: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A frame's candidates in memory, with indices in int32, and the parts that were searched."""

    parts: tuple[int | None, ...]
    step: FrameCandidates

    @property
    def bytes(self) -> int:
        found = self.step.candidates
        return found.sources.nbytes + found.scores.nbytes + found.bounds.nbytes

    def unpacked(self) -> FrameCandidates:
        return _with_sources(self.step, self.step.candidates.sources.long())


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A frame's computed labels, their inputs, and a version number that changes with their values."""

    labels: list[torch.Tensor]
    inputs: tuple[Any, ...]
    version: int

    @property
    def bytes(self) -> int:
        return sum(label.nbytes for label in self.labels)


class TrackingSession:
    """Labels of one video, while annotations and settings change.

    Labels always equal those of a new session with the current annotations and settings, to the last bit. A frame is
    labelled again only if its inputs have changed. Candidates stay in memory, and are reused for another temperature, a
    smaller top-k, a shorter context, and for other weights if the kernel proves that they contain the best sources. For
    all other frames, candidates are found again.

    Parameters
    ----------
    parts
        Features of one video and their weights; a part of weight 0 is not read. Or a source of candidates.
    settings
        Parameters. For a source of candidates, also the weights of its parts.
    annotations
        Labels of the annotated frames by index, on the grid of the finest part with a weight; or the label of frame 0.
    device
        Device to compute on. A source of candidates has its own.
    memory
        Maximum size in bytes of candidates and labels in memory, at least 0; others are computed again when needed.
        With 0, no more sources are searched than the settings need.

    Attributes
    ----------
    settings
        Parameters; may be set.
    weights
        The weight of each part; may be set.
    last_run
        Statistics of the last run so far.

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
        parts: Sequence[Part] | CandidateSource,
        settings: PropagationSettings | WeightedSettings,
        annotations: torch.Tensor | Mapping[int, AnnotatedLabel] | None = None,
        *,
        device: torch.device | str = "cpu",
        memory: int = 2**30,
    ) -> None:
        self.weights: tuple[float, ...]
        self._source: CandidateSource
        if isinstance(parts, Sequence):
            self.weights = tuple(weight for _, weight in parts)
            fewest = _FEWEST_HELD if memory else 1
            self._source = FeatureSearch([volume for volume, _ in parts], device=device, fewest=fewest)
        else:
            self._source = parts
        if isinstance(settings, WeightedSettings):
            self.weights, settings = settings.weights, settings.settings
        self.settings = settings
        self.last_run = SessionRun()
        self._memory = memory
        self._annotations: dict[int, AnnotatedLabel] = {}
        self._annotated_at: dict[int, int] = {}  # frame -> version of its annotation
        self._version = 0
        self._used = 0  # bytes of `_held` and `_known`
        self._region: tuple[Any, ...] | None = None  # `SearchSpec.region` of `_held`
        self._held: dict[int, _Held] = {}
        self._known: dict[int, _Known] = {}
        self._cancelled = threading.Event()
        self._source.shape(self.weights)  # raises if the parts cannot be fused
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
        return self._source.shape(self.weights)[1:]

    def annotate(self, frame: int, label: AnnotatedLabel | torch.Tensor) -> None:
        """Add the label of a frame, or correct it. A tensor, (channel, y, x), annotates all channels."""
        annotated = AnnotatedLabel(label=label) if isinstance(label, torch.Tensor) else label
        (self._annotations[frame],) = annotation_labels({frame: annotated}, self._source.device).values()
        self._annotated_at[frame] = self._next_version()

    def remove(self, frame: int) -> None:
        """Remove the annotation of a frame; raises LabelError if there is none."""
        if frame not in self._annotations:
            raise LabelError(f"frame {frame} is not annotated")
        del self._annotations[frame], self._annotated_at[frame]

    def cancel(self) -> None:
        """Stop the current run before its next frame. May be called from any thread."""
        self._cancelled.set()

    def labels(
        self, *, cancelled: Callable[[], bool] = lambda: False, correct: Correct | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Label the video with the current annotations and settings.

        Annotations and settings must not change before the last frame.

        Parameters
        ----------
        cancelled
            Called before each frame; True cancels as `cancel` does.
        correct
            Function of a frame without annotations and its label that returns the label to use instead, in the result
            and as context of later frames. It is called once for each of these frames, in the order of propagation.
            Candidates do not depend on labels, so they are reused as without it; labels in memory are not.

        Returns
        -------
        iterator of (int, torch.Tensor)
            Index and soft label, (channel, y, x), float32, of every frame, in the order of propagation: the first
            annotated frame, those after it, and those before it, backward. The tensors belong to the session: do not
            write to them.

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
        return ((frame, label) for frame, (label,) in self._sweep([self._current], cancelled, correct))

    def sweep(
        self, settings: Sequence[WeightedSettings], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Label the video with several settings in one pass, with the current annotations.

        Candidates are found once for all settings, and ranked once for each fusion. The settings have one kernel and
        window, as `plan_passes` groups them. The iterator is that of `labels`, with a list of the labels under each
        setting, on the grid of the finest part that has a weight in any of them.
        """
        return self._sweep(settings, cancelled)

    def _sweep(
        self, settings: Sequence[WeightedSettings], cancelled: Callable[[], bool], correct: Correct | None = None
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        annotations = self.annotations
        run = _Run(self, settings, tuple(annotations))
        check_annotations(annotations, run.grid, run.frame_count)
        self._cancelled.clear()
        return self._labels(run, annotations, cancelled, correct)

    def affinities(
        self, frames: range | None = None, *, annotated: Sequence[int] | None = None
    ) -> Iterator[FrameAffinity]:
        """Yield the sources and weights of a run of frames, all by default, in the order of propagation.

        There are none of the first annotated frame. `annotated`, rising, are by default the annotated frames.
        """
        run = _Run(self, [self._current], tuple(self.annotations if annotated is None else annotated), frames)
        for frame in run.order:
            context, weighted = run.weighted(frame)
            ((_, _, weights),) = weighted.batches
            found = Affinity(sources=weighted.affinity.sources[0], similarity=weighted.affinity.similarity[0])
            yield FrameAffinity(frame=frame, context=context, affinity=found, weights=weights[0])

    def _labels(
        self,
        run: "_Run",
        annotations: Mapping[int, AnnotatedLabel],
        cancelled: Callable[[], bool],
        correct: Correct | None,
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        first = next(iter(annotations))
        context_labels = ContextLabels(annotations, len(run.settings))
        versions: dict[int, int] = {}
        for frame in (first, *run.order):
            if self._cancelled.is_set() or cancelled():
                raise SessionCancelled("tracking was cancelled")
            context = run.context(frame) if frame != first else ()
            inputs = (
                run.settings,
                context,
                tuple(versions[other] for other in context),
                self._annotated_at.get(frame),
                tuple((channel, joined) for channel, joined in context_labels.joins.items() if joined <= frame),
                run.grid,
                correct and object(),  # a correction may depend on anything: such labels are never known
            )
            known = self._known.get(frame)
            if known is not None and known.inputs == inputs:
                labels, version = known.labels, known.version
                if context:
                    self.last_run.unchanged += 1
                    context_labels.hold(frame, context, labels)
            else:
                if context:
                    labels = context_labels.advance(frame, *run.weighted(frame))
                    if correct is not None and frame not in annotations:
                        labels = [correct(frame, label) for label in labels]
                        context_labels.hold(frame, context, labels)
                else:
                    labels = [annotations[frame].label] * len(run.settings)
                same = known is not None and all(map(torch.equal, known.labels, labels))
                version = known.version if known is not None and same else self._next_version()
                self._keep_labels(frame, _Known(labels=labels, inputs=inputs, version=version))
            versions[frame] = version
            yield frame, labels

    @property
    def _current(self) -> WeightedSettings:
        return WeightedSettings(weights=self.weights, settings=self.settings)

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    def _keep_labels(self, frame: int, known: _Known) -> None:
        if frame in self._known:
            self._used -= self._known.pop(frame).bytes
        if self._used + known.bytes <= self._memory:
            self._known[frame] = known
            self._used += known.bytes

    def _keep_candidates(self, frame: int, parts: tuple[int | None, ...], step: FrameCandidates) -> None:
        if self._region != step.spec.region:  # all candidates in memory are of another kernel or window
            self._used -= sum(other.bytes for other in self._held.values())
            self._held.clear()
            self._region = step.spec.region
        if frame in self._held:
            self._used -= self._held.pop(frame).bytes
        if self._used < self._memory:
            held = _Held(parts=parts, step=_with_sources(step, step.candidates.sources.int()))
            if self._used + held.bytes <= self._memory:
                self._held[frame] = held
                self._used += held.bytes


class _Run:
    """One run of a session: candidates from memory if they contain the best sources, otherwise found now.

    `order` are the frames except the first annotated one, in the order of propagation.
    """

    def __init__(
        self,
        session: TrackingSession,
        settings: Sequence[WeightedSettings],
        annotated: tuple[int, ...],
        frames: range | None = None,
    ) -> None:
        self.settings = tuple(settings)
        # Raises for settings that cannot share a search. Without annotations, the caller raises.
        self._spec = SearchSpec.shared(self.settings, annotated=annotated or (0,))[1]
        # A part has a weight in a run if it has one in any setting.
        weights = [max(of_part) for of_part in zip(*(item.weights for item in self.settings), strict=True)]
        self.frame_count, *grid = session._source.shape(weights)
        self.grid = (grid[0], grid[1])
        session.last_run = SessionRun()
        self._session = session
        self._annotated = annotated
        run = range(self.frame_count) if frames is None else frames
        self.order = [*chain(*propagation_order(run, annotated))] if annotated else []
        self._used_parts = {part for part, weight in enumerate(weights) if weight > 0}
        self._proved: dict[int, bool] = {}
        self._found: FoundCandidates | None = None
        self._steps: Iterator[FrameCandidates] = iter(())
        self._expected: set[int] = set()  # frames that `_steps` will yield

    def context(self, frame: int, length: int | None = None) -> tuple[int, ...]:
        """Return a frame's context of some length; by default the longest of the settings."""
        length = self._spec.context if length is None else length
        return frame_context(frame, self._annotated, length, fill=self._spec.context_fill)

    def weighted(self, frame: int) -> tuple[tuple[int, ...], WeightedSources]:
        """Return the context of a frame's candidates, and the sources under each setting with their weights."""
        if self._proves(frame):
            self._session.last_run.reused += 1
            held = self._session._held[frame]
            parts, step = held.parts, held.unpacked()
        else:
            self._session.last_run.searched += 1
            parts, step = self._find(frame)
            self._session._keep_candidates(frame, parts, step)
        step = self._cut(step)
        return step.context, weigh_sources(step, [item.of_parts(parts) for item in self.settings])

    def _find(self, frame: int) -> tuple[tuple[int | None, ...], FrameCandidates]:
        if self._found is None:
            self._found = self._session._source.find(self.settings, self._annotated)
        if frame not in self._expected:
            self._expected = self._missing_from(frame)
            self._steps = self._found.steps(range(min(self._expected), max(self._expected) + 1))
        return self._found.parts, next(step for step in self._steps if step.frame == frame)

    def _missing_from(self, frame: int) -> set[int]:
        """Return a frame and its successors in the order of propagation, up to the next that is in memory."""
        start, first = self.order.index(frame), self._annotated[0]
        missing = takewhile(lambda other: not self._proves(other), self.order[start:])
        # Both directions in one search only if it begins at the first annotated frame: frames are one run.
        return {other for other in missing if start == 0 or (other > first) == (frame > first)}

    def _proves(self, frame: int) -> bool:
        """Tell whether the candidates in memory contain the best sources of a frame."""
        if frame not in self._proved:
            held = self._session._held.get(frame)
            self._proved[frame] = held is not None and self._proven_by(held)
        return self._proved[frame]

    def _proven_by(self, held: _Held) -> bool:
        step, frame, spec = held.step, held.step.frame, held.step.spec
        if step.grid != self.grid or spec.region != self._spec.region:
            return False
        if not self._used_parts <= set(held.parts) or step.annotated != len(fixed_frames(frame, self._annotated)):
            return False
        if self._shorter(step) != self.context(frame):
            return False
        step = held.unpacked()
        for item in self.settings:
            length, top_k = item.settings.context, item.settings.top_k
            # Until a context is full, it is the same for all lengths.
            length = spec.context if self.context(frame, length) == step.context else length
            fusion = replace(item.of_parts(held.parts).fusion(), context=length)
            if not (spec.kernel.serves(spec, fusion, top_k) or bool(step.proven(fusion, top_k).all())):
                return False
        return True

    def _shorter(self, step: FrameCandidates) -> tuple[int, ...]:
        positions = positions_within(len(step.context), step.annotated, self._spec.context)
        return tuple(step.context[at] for at in positions)

    def _cut(self, step: FrameCandidates) -> FrameCandidates:
        """Leave out the context frames that no setting has."""
        context = self._shorter(step)
        if step.context == context:
            return step
        cells = self.grid[0] * self.grid[1]
        sources = step.candidates.sources
        number = sources.new_full((len(step.context) + 1,), -1)  # the last entry is for empty slots
        positions = positions_within(len(step.context), step.annotated, self._spec.context)
        number[positions] = torch.arange(len(positions), device=number.device)
        number = number[torch.where(sources < 0, len(step.context), sources // cells)]
        return replace(
            _with_sources(step, torch.where(number < 0, -1, number * cells + sources % cells)), context=context
        )


def _with_sources(step: FrameCandidates, sources: torch.Tensor) -> FrameCandidates:
    return replace(step, candidates=replace(step.candidates, sources=sources))
