"""Cached affinities: candidates that are searched once and read for every setting that they suffice for."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch

from ..store import AffinitySpec, AffinityUnit, Cache, ReadLock, Unit
from ..store.errors import ConfigError, SchemaError
from .candidate_search import FoundCandidates, FrameCandidates, search
from .cluster import Workers
from .context import propagation_order
from .features import FeatureReader
from .fusion import Fusion
from .kernels.candidates import Candidates
from .settings import WeightedSettings
from .spec import SearchSpec


class CachedAffinities:
    """A video's cached candidates: a source of candidates (`CandidateSource`) for the settings that they serve.

    Parameters
    ----------
    unit
        The affinity unit that holds them.
    device
        Device of the candidates.

    Attributes
    ----------
    unit
        The affinity unit.
    search
        The search that found them.

    Raises
    ------
    SchemaError
        For an unknown kernel, or another revision of a kernel.
    """

    def __init__(self, unit: AffinityUnit, device: torch.device | str = "cpu") -> None:
        self.unit = unit
        self.device = torch.device(device)
        self.search = SearchSpec.from_json(unit.spec.search)

    def shape(self, weights: Sequence[float]) -> tuple[int, int, int]:
        """Return the number of frames and the grid; see `CandidateSource`."""
        if len(weights) != len(self.unit.spec.features):
            raise ConfigError(f"settings weigh {len(weights)} features; there are {len(self.unit.spec.features)}")
        return self.unit.spec.frame_count, *self.unit.spec.grid

    def find(self, settings: Sequence[WeightedSettings], annotated: tuple[int, ...]) -> FoundCandidates:
        """Return the candidates if they serve all settings by definition; see `CandidateSource`."""
        if annotated != self.search.annotated or not all(map(self.search.serves, settings)):
            raise ConfigError(f"the affinities of {self.unit.spec.video} were searched for other settings")
        return FoundCandidates(parts=tuple(range(len(self.unit.spec.features))), steps=self.steps, origin="kept")

    def steps(self, frames: range | None = None) -> Iterator[FrameCandidates]:
        """Yield the candidates of a run of frames, all by default, except the first annotated one.

        They come in the order of propagation. A thread reads one frame ahead. Meanwhile no other process discards the
        video's affinities.
        """
        run = range(self.unit.spec.frame_count) if frames is None else frames
        return self._steps([*chain(*propagation_order(run, self.search.annotated))])

    def _steps(self, frames: Sequence[int]) -> Iterator[FrameCandidates]:
        with ReadLock(self.unit.folder.parents[1]), ThreadPoolExecutor(max_workers=1) as reader:
            pending = reader.submit(self.unit.read, frames[0]) if frames else None
            for frame, following in zip(frames, [*frames[1:], None], strict=True):
                assert pending is not None
                sources, scores, bounds = pending.result()
                pending = None if following is None else reader.submit(self.unit.read, following)
                used = max(1, int((sources >= 0).sum(1).max()))
                context, annotated = self.search.frame_context(frame)
                yield FrameCandidates(
                    frame=frame,
                    context=context,
                    annotated=annotated,
                    grid=self.unit.spec.grid,
                    spec=self.search,
                    candidates=Candidates(
                        sources=torch.from_numpy(sources[:, :used]).to(self.device, torch.int64),
                        scores=torch.from_numpy(scores[:, :, :used]).to(self.device),
                        bounds=torch.from_numpy(bounds).to(self.device),
                    ),
                )

    def serves(self, fusion: Fusion, top_k: int) -> bool:
        """Tell whether the search is certain to contain the k best sources under a fusion, by its definition."""
        return self.search.kernel.serves(self.search, fusion, top_k)

    def unproven(self, fusion: Fusion, top_k: int) -> float:
        """Return the share of pixels in [0, 1], over all frames, whose k best sources may not all be candidates.

        0 means that the candidates give exact results for this setting. Unless `serves` is true, all frames are read.
        """
        if self.serves(fusion, top_k):
            return 0.0
        total = uncertain = 0
        for step in self.steps():
            certain = step.proven(fusion, top_k)
            total += certain.numel()
            uncertain += certain.numel() - int(certain.sum())
        return uncertain / max(1, total)


def affinity_spec(units: Sequence[Unit], spec: SearchSpec) -> AffinitySpec:
    """Return the description of the affinity unit of a search in feature units of one video."""
    reader = FeatureReader([(unit, 1.0) for unit in units])
    described = units[0].spec
    components = spec.kernel.component_count(len(units))
    return AffinitySpec(
        dataset=described.dataset,
        video=described.request.video,
        features=tuple(unit.content_hash for unit in units),
        feature_labels=tuple(unit.spec.label for unit in units),
        frame_count=reader.frame_count,
        grid=reader.grid,
        slots=spec.most_sources(reader.grid),
        search=spec.to_json() | ({} if components == len(units) else {"components": components}),
    )


def cache_affinities(
    cache: Cache,
    units: Sequence[Unit],
    spec: SearchSpec,
    *,
    device: torch.device | str = "cpu",
    workers: Workers | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> CachedAffinities:
    """Find a video's candidates and store them in the cache; resume an interrupted call.

    Parameters
    ----------
    units
        The parts: feature units of one video.
    progress
        Called with the number of frames just done; the first call counts the frames that were done before.

    Raises
    ------
    ClaimedError
        When another process is writing the same affinities.
    CacheError
        For features that are damaged, or a cache that cannot be written.
    """
    described = affinity_spec(units, spec)
    if cache.state(described) == "complete":
        progress(described.frame_count)
        return CachedAffinities(AffinityUnit(described.folder(cache.root)))
    clock = time.monotonic()
    with cache.affinity_writer(described) as writer:
        done = writer.done
        progress(len(done))
        first = spec.annotated[0]  # takes its label from no other frame
        if first not in done:
            writer.write_empty(first)
            progress(1)
        for run in _runs([frame for frame in range(described.frame_count) if frame not in done and frame != first]):
            for step in search(units, spec, frames=run, device=device, workers=workers):
                found = step.to("cpu").candidates
                writer.write(step.frame, found.sources.numpy(), found.scores.numpy(), found.bounds.numpy())
                writer.commit()
                progress(1)
        writer.finish({"device": str(device), "seconds": round(time.monotonic() - clock, 3), "resumed": len(done)})
    return CachedAffinities(AffinityUnit(described.folder(cache.root)))


def find_cached(
    cache: Cache,
    units: Sequence[Unit],
    setting: WeightedSettings,
    annotated: tuple[int, ...] = (0,),
    *,
    device: torch.device | str = "cpu",
) -> list[tuple[CachedAffinities, tuple[int | None, ...]]]:
    """Return the cached affinities that may contain a setting's sources.

    Affinities whose search covers the setting, which are exact by definition, come first.

    Returns
    -------
    list of (CachedAffinities, tuple)
        Affinities, and for each of their features the index of its unit, for `WeightedSettings.of_parts`; None for a
        feature that has no weight.
    """
    part_of = {units[part].content_hash: part for part in setting.used_parts}
    grid = FeatureReader([(units[part], 1.0) for part in part_of.values()]).grid
    described = units[0].spec
    found = []
    for entry in cache.affinities(described.dataset, described.request.video):
        if entry.state != "complete" or entry.spec.grid != grid:
            continue
        try:
            cached = CachedAffinities(entry.open(), device)
        except SchemaError:
            continue  # unknown kernel
        parts = tuple(part_of.get(feature) for feature in entry.spec.features)
        if (cached.search.region, cached.search.annotated) != (setting.settings.region, annotated):
            continue
        # The order of a sum's terms determines its last bits.
        if [part for part in parts if part is not None] == [*setting.used_parts]:
            found.append((cached, parts))
    return sorted(found, key=lambda item: not item[0].search.serves(setting.of_parts(item[1])))


def _runs(frames: Sequence[int]) -> Iterator[range]:
    """Cut rising indices into runs of successive indices."""
    start = 0
    for end in range(1, len(frames) + 1):
        if end == len(frames) or frames[end] != frames[end - 1] + 1:
            yield range(frames[start], frames[end - 1] + 1)
            start = end
