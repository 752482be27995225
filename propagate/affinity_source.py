"""Choice of a setting's candidates: cached affinities where they are exact, otherwise a search in the features."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from ..store import Cache, Unit
from ..store.errors import ClaimedError
from .affinity_cache import cache_affinities, find_cached
from .candidate_search import FrameCandidates, search_units
from .cluster import InProcess, Workers, check_access
from .labels import label_frames
from .settings import PropagationSettings, WeightedSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels

__all__ = ["AffinitySource", "AffinityUse", "choose_affinities"]

#: Use of cached affinities. ``auto``: read them if they are exact. ``keep``: the same, or compute and cache them.
#: ``keep-per-frame``: cache the best sources of every context frame, which are exact for every shorter context and take
#: ten times the space. ``approximate``: read them even if they may be inexact. ``off``: do not use them.
AffinityUse = Literal["auto", "keep", "keep-per-frame", "approximate", "off"]

# Cache at least this many sources per pixel, so that a larger top-k can be tried.
_FEWEST_CACHED = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AffinitySource:
    """A setting's candidates for all frames of a video.

    Attributes
    ----------
    source
        ``"features"``, ``"kept"`` (they were in the cache) or ``"features, kept"`` (they were computed and cached).
    unproven
        Share of pixels in [0, 1], over all frames, whose sources may not be the best ones; 0 if they are exact.
    device
        Device of the candidates.
    settings
        The setting, with the weights of the parts that were searched.
    steps
        Yields the candidates of each frame but the first annotated one, in the order of propagation.
    """

    source: str
    unproven: float
    device: torch.device
    settings: WeightedSettings
    steps: Callable[[], Iterator[FrameCandidates]]

    def labels(self, annotations: Mapping[int, AnnotatedLabel]) -> Iterator[tuple[int, torch.Tensor]]:
        """Propagate annotated labels.

        Parameters
        ----------
        annotations
            Labels of the annotated frames by index, on the features' grid.

        Yields
        ------
        frame : int
            Index of the frame, in the order of propagation: the first annotated one comes first.
        label : torch.Tensor
            Its soft label: (channel, y, x), float32, on `device`.
        """
        labels = annotation_labels(annotations, self.device)
        for frame, (label,) in label_frames(self.steps(), labels, [self.settings]):
            yield frame, label


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
    """Choose the source of a setting's candidates. With ``keep``, compute and cache them at once.

    Parameters
    ----------
    cache
        The cache.
    parts
        Feature units of one video and their weights, more than 0.
    settings
        Parameters.
    annotated
        Indices of the annotated frames, rising.
    use
        Use of cached affinities.
    device
        Device to compute on.
    workers
        Executor of the search; this process by default.
    progress
        Called with the number of frames just done, with ``keep``.

    Raises
    ------
    ConfigError
        For features that cannot be fused, or workers that do not see the cache.
    CacheError
        For features that are damaged, or a cache that cannot be written.
    """
    units = [unit for unit, _ in parts]
    setting = WeightedSettings(weights=tuple(weight for _, weight in parts), settings=settings)
    # The device may exist only on the workers.
    own = device if workers is None or isinstance(workers, InProcess) else torch.device("cpu")
    if use != "off":
        exact = _find_exact(cache, units, setting, annotated, own, approximate=use == "approximate")
        if exact is not None:
            return exact
    if workers is not None:
        check_access(workers, units)
    own_search = SearchSpec.of(settings, [setting.fusion()], annotated=annotated)
    steps = partial(search_units, units, own_search, device=device, workers=workers)
    found = AffinitySource(source="features", unproven=0.0, device=own, settings=setting, steps=steps)
    if use not in ("keep", "keep-per-frame"):
        return found
    per_frame = use == "keep-per-frame"
    top_k = settings.top_k if per_frame else max(settings.top_k, _FEWEST_CACHED)
    try:
        cached = cache_affinities(
            cache,
            units,
            replace(own_search, top_k=top_k, per_frame=per_frame),
            device=device,
            workers=workers,
            progress=progress,
        )
    except ClaimedError as error:
        _log.warning("the affinities are computed again and not cached: %s", error)
        return found
    return replace(found, source="features, kept", steps=partial(cached.steps, own))


def _find_exact(
    cache: Cache,
    units: Sequence[Unit],
    setting: WeightedSettings,
    annotated: tuple[int, ...],
    device: torch.device,
    *,
    approximate: bool,
) -> AffinitySource | None:
    """Return cached affinities that are exact for a setting; with `approximate`, those with the fewest unproven."""
    best: AffinitySource | None = None
    for cached, theirs in find_cached(cache, units, setting, annotated):
        unproven = cached.unproven(theirs.fusion(), theirs.settings.top_k, device)
        if best is None or unproven < best.unproven:
            best = AffinitySource(
                source="kept",
                unproven=unproven,
                device=device,
                settings=theirs,
                steps=partial(cached.steps, device),
            )
        if unproven == 0:
            break
    if best is None or best.unproven == 0 or approximate:
        return best
    _log.info(
        "%s: cached affinities are not proven exact for %.3g %% of the pixels with these settings: using the features",
        units[0].spec.request.video,
        100 * best.unproven,
    )
    return None
