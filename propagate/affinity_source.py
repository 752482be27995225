"""Where a setting's affinities come from: what the cache keeps, where that is exact, or the features."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ..store import Cache, Unit
from ..store.errors import ClaimedError
from .affinity_cache import cache_affinities, find_cached
from .blocks import search_units
from .cluster import InProcess, Workers, check_access
from .engine import FrameAffinity, FrameCandidates
from .fusion import Fusion
from .settings import PropagationSettings
from .spec import SearchSpec

__all__ = ["AffinitySource", "AffinityUse", "choose_affinities"]

#: What to do with kept affinities. ``auto``: read them where that is exact. ``keep``: so, or compute and keep them.
#: ``keep-per-frame``: the best sources of every context frame, ten times as much, which serve every shorter context.
#: ``approximate``: read them even where nothing proves that it is exact. ``off``: leave them alone.
AffinityUse = Literal["auto", "keep", "keep-per-frame", "approximate", "off"]

# Affinities that are kept hold at least so many sources a pixel, so that a larger top-k can be tried.
_LEAST_KEPT = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AffinitySource:
    """Affinities of a video's frames for one setting.

    Attributes
    ----------
    source
        ``"features"``, ``"kept"`` (they were in the cache) or ``"features, kept"`` (they are from now on).
    unproven
        Share of pixels, over all frames, whose sources may not be the best ones; 0 where the reading is exact.
    device
        Where the affinities are.
    """

    source: str
    unproven: float
    device: torch.device
    _steps: Callable[[], Iterator[FrameCandidates]]
    _fusion: Fusion
    _top_k: int

    def frames(self) -> Iterator[FrameAffinity]:
        """Yield the affinity of each frame but the first annotated one, in the order of propagation."""
        for step in self._steps():
            ranked = step.rank(self._fusion, self._top_k)
            yield FrameAffinity(frame=step.frame, context=step.context, affinity=ranked)


def choose_affinities(
    cache: Cache,
    parts: Sequence[tuple[Unit, float]],
    settings: PropagationSettings,
    *,
    annotated: tuple[int, ...] = (0,),
    use: AffinityUse = "auto",
    device: torch.device,
    workers: Workers | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> AffinitySource:
    """Decide where a setting's affinities come from. With ``keep``, they are computed and kept at once.

    Parameters
    ----------
    cache
        The cache.
    parts
        Feature units of one video and what each weighs, more than 0.
    settings
        Parameters.
    annotated
        Indices of the frames with a given label, rising.
    use
        What to do with kept affinities.
    device
        Where affinities are computed.
    workers
        Who computes them; this process by default.
    progress
        Called with the number of frames just done, by ``keep``.

    Raises
    ------
    ConfigError
        For features that cannot be fused, or workers that do not see the cache.
    CacheError
        For features that are damaged, or a cache that cannot be written.
    """
    units, weights = [unit for unit, _ in parts], tuple(weight for _, weight in parts)
    fusion = Fusion(weights=weights, context=settings.context, renormalize=settings.renormalize)
    # The device may be the workers' alone.
    own = device if workers is None or isinstance(workers, InProcess) else torch.device("cpu")
    if use != "off":
        kept = _kept(cache, units, settings, fusion, annotated, own, approximate=use == "approximate")
        if kept is not None:
            return kept
    if workers is not None:
        check_access(workers, units)
    if use in ("keep", "keep-per-frame"):
        per_frame = use == "keep-per-frame"
        wanted = SearchSpec(
            radius=settings.radius,
            top_k=settings.top_k if per_frame else max(settings.top_k, _LEAST_KEPT),
            fusions=(fusion,),
            per_frame=per_frame,
            annotated=annotated,
        )
        try:
            found = cache_affinities(cache, units, wanted, device=device, workers=workers, progress=progress)
        except ClaimedError as error:
            _log.warning("the affinities are computed again and not cached: %s", error)
        else:
            return AffinitySource(
                source="features, kept",
                unproven=0.0,
                device=own,
                _steps=lambda: found.steps(own),
                _fusion=fusion,
                _top_k=settings.top_k,
            )
    wanted = SearchSpec(radius=settings.radius, top_k=settings.top_k, fusions=(fusion,), annotated=annotated)
    return AffinitySource(
        source="features",
        unproven=0.0,
        device=own,
        _steps=lambda: search_units(units, wanted, device=device, workers=workers),
        _fusion=fusion,
        _top_k=settings.top_k,
    )


def _kept(
    cache: Cache,
    units: Sequence[Unit],
    settings: PropagationSettings,
    fusion: Fusion,
    annotated: tuple[int, ...],
    device: torch.device,
    *,
    approximate: bool,
) -> AffinitySource | None:
    """Return the reading from kept affinities that is exact, or the nearest to it if that is good enough."""
    best: tuple[float, AffinitySource] | None = None
    for kept, theirs in find_cached(cache, units, fusion.weights, settings.radius, fusion, settings.top_k, annotated):
        unproven = kept.unproven(theirs, settings.top_k, device)
        if best is None or unproven < best[0]:
            reading = AffinitySource(
                source="kept",
                unproven=unproven,
                device=device,
                _steps=lambda kept=kept: kept.steps(device),  # type: ignore[misc]
                _fusion=theirs,
                _top_k=settings.top_k,
            )
            best = unproven, reading
        if unproven == 0:
            break
    if best is None:
        return None
    if best[0] == 0 or approximate:
        return best[1]
    _log.info(
        "%s: kept affinities are not proven exact for %.3g %% of the pixels with these settings: using the features",
        units[0].spec.request.video,
        100 * best[0],
    )
    return None
