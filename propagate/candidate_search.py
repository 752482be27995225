"""The expensive step of propagation: find the sources of every frame of a video, here or on workers.

It does not depend on labels. Memory holds the features of one context, whatever the length of the video.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from ..store import Unit
from ..store.errors import ConfigError, CorruptUnitError
from .cluster import InProcess, Workers, check_access
from .context import propagation_order
from .features import FeatureReader, FeatureVolume
from .fusion import Fusion
from .kernels.candidates import Affinity, Candidates, rank
from .settings import WeightedSettings
from .spec import SearchSpec

# Frames in a worker's block. Each block reads its context again, so small blocks read too much; large blocks keep other
# workers waiting for the last one, and their results take memory.
_FEWEST, _MOST = 4, 24


@dataclass(frozen=True, kw_only=True)
class FrameCandidates:
    """The candidates of one frame, on the grid (y, x) of the finest features, and the search that found them.

    `context` are the indices of its context frames, the first axis of the flat indices in `Candidates.sources`;
    `annotated` of them are annotated and come first.
    """

    frame: int
    context: tuple[int, ...]
    annotated: int
    grid: tuple[int, int]
    spec: SearchSpec
    candidates: Candidates

    def to(self, device: torch.device | str) -> "FrameCandidates":
        """Return a copy on a device."""
        return replace(self, candidates=self.candidates.to(device))

    def rank(self, fusion: Fusion, top_k: int) -> Affinity:
        """Return the k most similar sources of each pixel under a fusion."""
        return self.spec.kernel.rank(self.candidates, fusion, top_k, **self._shape)

    def rank_all(self, fusions: Sequence[Fusion], top_k: int) -> Affinity:
        """Return the k most similar sources of each pixel under each fusion, (fusion, pixel, k)."""
        return rank(self.candidates, self.spec.kernel.similarities, fusions, top_k, **self._shape)

    def proven(self, fusion: Fusion, top_k: int) -> torch.Tensor:
        """Return for which pixels `rank` is certain to give the k best sources: (pixel,), bool; see `Kernel.proven`."""
        return self.spec.kernel.proven(self.candidates, self.spec, fusion, top_k, **self._shape)

    @property
    def _shape(self) -> dict[str, int]:
        return {
            "cells": self.grid[0] * self.grid[1],
            "frames": len(self.context),
            "annotated": self.annotated,
        }


@dataclass(frozen=True, kw_only=True)
class FoundCandidates:
    """A video's candidates, found for some settings.

    Attributes
    ----------
    parts
        For each part of the search, its index among the parts of the settings; None if it is none of them.
    steps
        Yields the candidates of a run of frames, except the first annotated one, in the order of propagation.
    origin
        ``"features"``, ``"kept"`` (they were in the cache) or ``"features, kept"`` (they were computed and cached).
    unproven
        Share of pixels in [0, 1], over all frames, whose best sources may not all be candidates.
    """

    parts: tuple[int | None, ...]
    steps: Callable[[range], Iterator[FrameCandidates]]
    origin: str = "features"
    unproven: float = 0.0


class CandidateSource(Protocol):
    """A source of a session's candidates, on a device: features, or cached affinities."""

    device: torch.device

    def shape(self, weights: Sequence[float]) -> tuple[int, int, int]:
        """Return the number of frames and the grid, (frame, y, x), of label maps when the parts have these weights.

        Raises ConfigError for parts that cannot be fused.
        """

    def find(self, settings: Sequence[WeightedSettings], annotated: tuple[int, ...]) -> FoundCandidates:
        """Return candidates that contain the sources of all settings, which have one kernel and window.

        Raises ConfigError for settings that the source cannot serve, or not together. `annotated` frames rise.
        """


class FeatureSearch:
    """A source of candidates that searches features.

    Parameters
    ----------
    volumes
        The parts: features of one video. With workers, feature units.
    device
        Device to compute on.
    workers
        Executor of the search; this process by default.
    fewest
        Number of sources to find for each pixel if the settings have a smaller top-k.
    """

    def __init__(
        self,
        volumes: Sequence[FeatureVolume],
        *,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
        fewest: int = 1,
    ) -> None:
        self._volumes = tuple(volumes)
        self._search_device = device
        self._workers = workers
        self._fewest = fewest
        # The device may exist only on the workers.
        self.device = torch.device(device if workers is None or isinstance(workers, InProcess) else "cpu")

    def shape(self, weights: Sequence[float]) -> tuple[int, int, int]:
        """Return the number of frames and the grid; see `CandidateSource`."""
        if len(weights) != len(self._volumes):
            raise ConfigError(f"settings weigh {len(weights)} features; there are {len(self._volumes)}")
        reader = FeatureReader(list(zip(self._volumes, weights, strict=True)))
        return reader.frame_count, *reader.grid

    def find(self, settings: Sequence[WeightedSettings], annotated: tuple[int, ...]) -> FoundCandidates:
        """Return the candidates of one search for all settings; see `CandidateSource`."""
        parts, spec = SearchSpec.shared(settings, annotated=annotated, fewest=self._fewest)
        volumes = [self._volumes[part] for part in parts]
        if self._workers is not None:
            check_access(self._workers, cast(list[Unit], volumes))

        def steps(frames: range) -> Iterator[FrameCandidates]:
            return search(volumes, spec, frames=frames, device=self._search_device, workers=self._workers)

        return FoundCandidates(parts=parts, steps=steps)


def search(
    volumes: Sequence[FeatureVolume],
    spec: SearchSpec,
    *,
    frames: range | None = None,
    device: torch.device | str = "cpu",
    workers: Workers | None = None,
) -> Iterator[FrameCandidates]:
    """Find the candidates of the frames of a video; each frame's features are read once.

    Parameters
    ----------
    volumes
        The parts: features of one video. With workers, feature units.
    spec
        The search.
    frames
        A run of frames; all by default. Their contexts are read, too.
    device
        Device to compute on.
    workers
        Executor; this process by default. Workers search blocks of frames, and read the contexts of each block. The
        result does not depend on them.

    Returns
    -------
    iterator of FrameCandidates
        In the order of propagation: the frames after the first annotated one, then those before it, backward. On
        `device` if this process computes, else on the CPU.

    Raises
    ------
    ConfigError
        For parts that cannot be fused, or frames that do not exist (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached), or that are replaced during the search.
    """
    reader = FeatureReader([(volume, 1.0) for volume in volumes])
    if len(spec.fusions[0].weights) != len(volumes):
        raise ConfigError(f"fusions weigh {len(spec.fusions[0].weights)} parts; there are {len(volumes)}")
    run = range(reader.frame_count) if frames is None else frames
    if run.step != 1 or not (0 <= run.start <= run.stop <= reader.frame_count):
        raise ConfigError(f"there is no such run of frames as {run}; the video has {reader.frame_count}")
    if spec.annotated[-1] >= reader.frame_count:
        raise ConfigError(f"frame {spec.annotated[-1]} is annotated; the video has {reader.frame_count} frames")
    if workers is not None and not isinstance(workers, InProcess):
        return _search_blocks(cast(Sequence[Unit], volumes), spec, run, device, workers)
    return (
        step
        for ordered in propagation_order(run, spec.annotated)
        for step in _search_one_way(reader, spec, ordered, torch.device(device))
    )


def _search_one_way(
    reader: FeatureReader, spec: SearchSpec, frames: range, device: torch.device
) -> Iterator[FrameCandidates]:
    """Search successive frames, all in one direction of propagation."""
    contexts = {frame: spec.frame_context(frame) for frame in frames}
    if not contexts:
        return
    needed = {*contexts, *(frame for context, _ in contexts.values() for frame in context)}
    kernel = spec.kernel.bind(reader.parts)
    index = kernel.index(spec, max(len(set(context)) for context, _ in contexts.values()))
    last: tuple[int, Any] | None = None
    for frame, parts in reader.frames(device, sorted(needed, reverse=frames.step < 0)):
        features = kernel.prepare(parts)
        del parts
        if frame in contexts:
            context, annotated = contexts[frame]
            # Drop first: the new frame reuses the memory of a frame that has left the context.
            index.keep(context)
            if last is not None and last[0] in context:
                index.add(*last)
            found = index.search(features, context, annotated)
            yield FrameCandidates(
                frame=frame, context=context, annotated=annotated, grid=reader.grid, spec=spec, candidates=found
            )
        elif last is not None:
            index.add(*last)
        last = frame, features


def _search_blocks(
    units: Sequence[Unit], spec: SearchSpec, run: range, device: torch.device | str, workers: Workers
) -> Iterator[FrameCandidates]:
    first = spec.annotated[0]
    after, before = range(max(run.start, first), run.stop), range(run.start, min(run.stop, first))
    blocks = [*_blocks(after, workers.count), *reversed([*_blocks(before, workers.count)])]
    references = tuple(_Reference(folder=unit.folder.absolute(), content_hash=unit.content_hash) for unit in units)
    tasks = ((references, spec, block, str(device)) for block in blocks)
    return (step for block in workers.map(_search_block, tasks) for step in block)


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """A picklable reference to a feature unit, which the worker opens."""

    folder: Path
    content_hash: str

    def open(self) -> Unit:
        unit = Unit(self.folder)
        if unit.content_hash != self.content_hash:
            raise CorruptUnitError(f"{self.folder} was replaced while it was used: run the command again")
        return unit


def _blocks(run: range, workers: int) -> Iterator[range]:
    count = max(1, -(-len(run) // min(_MOST, max(_FEWEST, -(-len(run) // (2 * workers))))))
    edges = [run.start + number * len(run) // count for number in range(count + 1)]
    yield from (range(start, stop) for start, stop in pairwise(edges) if start < stop)


def _search_block(units: Sequence[_Reference], spec: SearchSpec, frames: range, device: str) -> list[FrameCandidates]:
    opened = [unit.open() for unit in units]
    return [step.to("cpu") for step in search(opened, spec, frames=frames, device=device)]
