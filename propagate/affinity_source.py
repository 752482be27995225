"""Choice of candidates: cached affinities where they are exact, otherwise a search in the features."""

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from ..store import Cache, Unit
from ..store.errors import CacheError, ClaimedError
from .affinity_cache import CachedAffinities, affinity_spec, cache_affinities, find_cached
from .candidate_search import FeatureSearch, FoundCandidates
from .cluster import Workers
from .settings import WeightedSettings
from .spec import SearchSpec

#: Use of cached affinities. ``auto``: read them if they are exact. ``keep``: the same, or compute and cache them.
#: ``keep-per-frame``: cache the best sources of every context frame, which are exact for every shorter context and take
#: ten times the space. ``approximate``: read them even if they may be inexact. ``off``: do not use them.
AffinityUse = Literal["auto", "keep", "keep-per-frame", "approximate", "off"]

# Cache at least this many sources per pixel, so that a larger top-k can be tried.
_FEWEST_CACHED = 16

_log = logging.getLogger(__name__)


class AffinitySource:
    """A source of candidates (`CandidateSource`) for single settings, which reads and writes cached affinities.

    Several settings together are searched in the features.

    Parameters
    ----------
    cache
        The cache.
    units
        The parts: feature units of one video.
    use
        Use of cached affinities.
    device
        Device to compute on.
    spare
        With ``auto``: share of the free disk, 0 to 1, that a video's affinities may take if they are cached without
        being asked for. They are not where they would take more, and a failure to write them is a warning.
    workers
        Executor of the search; this process by default.
    progress
        Called with the number of frames just done, while affinities are computed to be cached.

    Raises
    ------
    ConfigError
        For features that cannot be fused, or workers that do not see the cache.
    CacheError
        For features that are damaged, or a cache that cannot be written.
    """

    def __init__(
        self,
        cache: Cache,
        units: Sequence[Unit],
        *,
        use: AffinityUse = "auto",
        spare: float = 0.0,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
        progress: Callable[[int], None] = lambda frames: None,
    ) -> None:
        self._cache = cache
        self._units = units
        self._use = use
        self._spare = spare if use == "auto" else 0.0
        self._features = FeatureSearch(units, device=device, workers=workers)
        self._compute: dict[str, Any] = {"device": device, "workers": workers, "progress": progress}
        self._found: dict[tuple[WeightedSettings, tuple[int, ...]], FoundCandidates] = {}
        self.device = self._features.device

    def shape(self, weights: Sequence[float]) -> tuple[int, int, int]:
        """Return the number of frames and the grid; see `CandidateSource`."""
        return self._features.shape(weights)

    def find(self, settings: Sequence[WeightedSettings], annotated: tuple[int, ...]) -> FoundCandidates:
        """Choose the candidates of a setting, once; with ``keep``, compute and cache them; see `CandidateSource`."""
        if len(settings) > 1:
            return self._features.find(settings, annotated)
        key = settings[0], annotated
        if key not in self._found:
            self._found[key] = (self._use != "off" and self._cached(*key)) or self._searched(*key)
        return self._found[key]

    def _searched(self, setting: WeightedSettings, annotated: tuple[int, ...]) -> FoundCandidates:
        found = self._features.find([setting], annotated)
        if self._use not in ("keep", "keep-per-frame") and not self._spare:
            return found
        per_frame = self._use == "keep-per-frame"
        parts, spec = SearchSpec.shared([setting], annotated=annotated, fewest=1 if per_frame else _FEWEST_CACHED)
        units = [self._units[part] for part in parts]
        spec = replace(spec, per_frame=per_frame)
        if self._spare and not self._fits(units, spec):
            return found
        try:
            cached = cache_affinities(self._cache, units, spec, **self._compute)
        except CacheError as error:
            if not self._spare and not isinstance(error, ClaimedError):
                raise
            _log.warning("the affinities are computed again and not cached: %s", error)
            if not isinstance(error, ClaimedError):
                with contextlib.suppress(CacheError):  # a part of them is of no use on a full disk
                    self._cache.remove(affinity_spec(units, spec).folder(self._cache.root))
            return found
        steps = CachedAffinities(cached.unit, self.device).steps
        return FoundCandidates(parts=parts, steps=steps, origin="features, kept")

    def _fits(self, units: Sequence[Unit], spec: SearchSpec) -> bool:
        """Tell whether a video's affinities, these included, take at most the spare share of the free disk."""
        described = affinity_spec(units, spec)
        needed = sum(4 * math.prod(shape) for shape in described.shapes.values())  # before compression
        there = sum(entry.bytes for entry in self._cache.affinities(described.dataset, described.video))
        try:
            free = shutil.disk_usage(self._cache.root).free if os.access(self._cache.root, os.W_OK) else 0
        except OSError:
            return False
        fits = needed + there <= self._spare * (free + there)
        if not fits:
            _log.info(
                "%s: affinities of %.0f MB are not cached: they would exceed %.3g %% of the free disk, or it is "
                "read-only",
                described.video,
                needed / 1e6,
                100 * self._spare,
            )
        return fits

    def _cached(self, setting: WeightedSettings, annotated: tuple[int, ...]) -> FoundCandidates | None:
        """Return cached affinities that are exact for a setting, or may be approximate."""
        best: FoundCandidates | None = None
        for cached, parts in find_cached(self._cache, self._units, setting, annotated, device=self.device):
            theirs = setting.of_parts(parts)
            unproven = cached.unproven(theirs.fusion(), theirs.settings.top_k)
            if best is None or unproven < best.unproven:
                best = FoundCandidates(parts=parts, steps=cached.steps, origin="kept", unproven=unproven)
            if unproven == 0:
                break
        if best is None or best.unproven == 0 or self._use == "approximate":
            return best
        _log.info(
            "%s: cached affinities are not proven exact for %.3g %% of the pixels with these settings: using the "
            "features",
            self._units[0].spec.request.video,
            100 * best.unproven,
        )
        return None
