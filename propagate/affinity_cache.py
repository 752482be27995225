"""Affinities kept in the cache: found once, read for every setting that they serve."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch

from ..store import AffinitySpec, AffinityUnit, Cache, Unit
from ..store.errors import SchemaError
from ..store.readers import ReadLock
from .blocks import search_units
from .cluster import Workers
from .context import fixed_frames, frame_context, propagation_order
from .engine import FrameCandidates
from .features import FeatureReader
from .fusion import Fusion
from .kernels.cosine.candidates import Candidates
from .kernels.cosine.exactness import found_for, proven
from .spec import SearchSpec

__all__ = ["CachedAffinities", "affinity_spec", "cache_affinities", "find_cached"]


class CachedAffinities:
    """The candidates of a video's frames, as a search found them.

    Parameters
    ----------
    unit
        Where they are kept.

    Attributes
    ----------
    unit
        The same.
    search
        What was searched for.

    Raises
    ------
    SchemaError
        When they are of another kernel than this version's.
    """

    def __init__(self, unit: AffinityUnit) -> None:
        self.unit = unit
        self.search = SearchSpec.from_json(unit.spec.search)

    def steps(self, device: torch.device | str = "cpu") -> Iterator[FrameCandidates]:
        """Yield the candidates of each frame but the first annotated one, in the order of propagation.

        A thread reads one frame ahead. Meanwhile no other process discards the video's affinities.
        """
        spec, annotated = self.unit.spec, self.search.annotated
        frames = [*chain(*propagation_order(range(spec.frame_count), annotated))]
        with ReadLock(self.unit.folder.parents[1]), ThreadPoolExecutor(max_workers=1) as reader:
            pending = reader.submit(self.unit.read, frames[0]) if frames else None
            for frame, following in zip(frames, [*frames[1:], None], strict=True):
                assert pending is not None
                sources, cosines, bounds = pending.result()
                pending = None if following is None else reader.submit(self.unit.read, following)
                used = max(1, int((sources >= 0).sum(1).max()))
                yield FrameCandidates(
                    frame=frame,
                    context=frame_context(frame, annotated, self.search.context),
                    annotated=len(fixed_frames(frame, annotated)),
                    grid=spec.grid,
                    candidates=Candidates(
                        sources=torch.from_numpy(sources[:, :used]).to(device, torch.int64),
                        cosines=torch.from_numpy(cosines[:, :, :used]).to(device),
                        bounds=torch.from_numpy(bounds).to(device),
                    ),
                )

    def fusion(self, units: Sequence[Unit], weights: Sequence[float], context: int, renormalize: bool) -> Fusion | None:
        """Return the fusion of the parts of these affinities that weighs some units; None if it lacks one of them.

        Parameters
        ----------
        units, weights
            Feature units, and what each weighs, more than 0.
        context, renormalize
            As in `Fusion`.
        """
        weight_of = dict(zip((unit.content_hash for unit in units), weights, strict=True))
        features = self.unit.spec.features
        # The order of the terms of a sum decides its last bits.
        if [feature for feature in features if feature in weight_of] != [unit.content_hash for unit in units]:
            return None
        return Fusion(
            weights=tuple(weight_of.get(feature, 0.0) for feature in features), context=context, renormalize=renormalize
        )

    def serves(self, fusion: Fusion, top_k: int) -> bool:
        """Tell whether the k best sources under a fusion are, by what was searched for, all among the candidates."""
        return found_for(self.search, fusion, top_k)

    def unproven(self, fusion: Fusion, top_k: int, device: torch.device | str = "cpu") -> float:
        """Return the share of pixels, over all frames, whose k best sources may not all be among the candidates.

        0 means that reading a setting from here is exact. It takes a look at every frame.
        """
        if self.serves(fusion, top_k):
            return 0.0
        total = uncertain = 0
        for step in self.steps(device):
            certain = proven(
                step.candidates,
                self.search,
                fusion,
                top_k,
                grid=step.grid,
                frames=len(step.context),
                annotated=step.annotated,
            )
            total += certain.numel()
            uncertain += certain.numel() - int(certain.sum())
        return uncertain / max(1, total)


def affinity_spec(units: Sequence[Unit], wanted: SearchSpec) -> AffinitySpec:
    """Return what a unit is that keeps what a search finds in feature units of one video."""
    sources = FeatureReader([(unit, 1.0) for unit in units])
    request = units[0].spec
    return AffinitySpec(
        dataset=request.dataset,
        video=request.request.video,
        features=tuple(unit.content_hash for unit in units),
        feature_labels=tuple(unit.spec.label for unit in units),
        frame_count=sources.frame_count,
        grid=sources.grid,
        slots=min(wanted.slots, wanted.window_cells(sources.grid) * (wanted.context + len(wanted.annotated))),
        search=wanted.to_json(),
    )


def cache_affinities(
    cache: Cache,
    units: Sequence[Unit],
    wanted: SearchSpec,
    *,
    device: torch.device | str = "cpu",
    workers: Workers | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> CachedAffinities:
    """Find a video's affinities, or what is left of them to find, and keep them in the cache.

    Parameters
    ----------
    cache
        The cache.
    units
        The parts: feature units of one video.
    wanted
        What to look for.
    device
        Where to compute.
    workers
        Who computes; this process by default.
    progress
        Called with the number of frames just done, at first with those that were there.

    Raises
    ------
    ClaimedError
        When another process is keeping the same.
    CacheError
        For features that are damaged, or a cache that cannot be written.
    """
    spec = affinity_spec(units, wanted)
    if cache.affinity_state(spec) == "complete":
        progress(spec.frame_count)
        return CachedAffinities(AffinityUnit(spec.folder(cache.root)))
    clock = time.monotonic()
    with cache.affinity_writer(spec) as writer:
        done = writer.done
        progress(len(done))
        first = wanted.annotated[0]  # for which nothing is searched
        if first not in done:
            writer.write_empty(first)
            progress(1)
        for run in _runs([frame for frame in range(spec.frame_count) if frame not in done and frame != first]):
            for step in search_units(units, wanted, frames=run, device=device, workers=workers):
                found = step.to("cpu").candidates
                writer.write(step.frame, found.sources.numpy(), found.cosines.numpy(), found.bounds.numpy())
                writer.commit()
                progress(1)
        writer.finish({"device": str(device), "seconds": round(time.monotonic() - clock, 3), "resumed": len(done)})
    return CachedAffinities(AffinityUnit(spec.folder(cache.root)))


def find_cached(
    cache: Cache,
    units: Sequence[Unit],
    weights: Sequence[float],
    radius: int,
    fusion: Fusion,
    top_k: int,
    annotated: tuple[int, ...] = (0,),
) -> list[tuple[CachedAffinities, Fusion]]:
    """Return the kept affinities that a setting may be read from, each with the fusion of its parts that is meant.

    Those that were found for the setting come first: it is certain that reading it from them is exact.

    Parameters
    ----------
    cache
        The cache.
    units, weights
        Feature units of one video, and what each weighs, more than 0.
    radius, top_k
        Of the setting.
    fusion
        Of the setting: its weights are those given.
    annotated
        Indices of the frames with a given label.
    """
    grid = FeatureReader([(unit, 1.0) for unit in units]).grid
    request = units[0].spec
    found = []
    for entry in cache.affinities(request.dataset, request.request.video):
        if entry.state != "complete" or entry.spec.grid != grid or entry.spec.search.get("radius") != radius:
            continue
        try:
            kept = CachedAffinities(entry.open())
        except SchemaError:
            continue  # of another kernel: as good as none
        theirs = kept.fusion(units, weights, fusion.context, fusion.renormalize)
        if theirs is not None and kept.search.annotated == annotated:
            found.append((kept, theirs))
    return sorted(found, key=lambda item: not item[0].serves(item[1], top_k))


def _runs(frames: Sequence[int]) -> Iterator[range]:
    """Cut rising indices into runs of successive ones."""
    start = 0
    for place in range(1, len(frames) + 1):
        if place == len(frames) or frames[place] != frames[place - 1] + 1:
            yield range(frames[start], frames[place - 1] + 1)
            start = place
