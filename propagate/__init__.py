"""Propagation of labels through a video along the similarity of its features.

Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .affinity_cache import CachedAffinities, affinity_spec, cache_affinities, find_cached
    from .affinity_source import AffinitySource, AffinityUse, choose_affinities
    from .blocks import search_units
    from .cluster import InProcess, Workers, check_access, connect
    from .engine import FrameAffinity, FrameCandidates, affinities, label_frames, propagate, search
    from .features import FeatureReader, FeatureVolume, Part, finest_part
    from .fusion import Fusion
    from .labels import ContextLabels, propagate_labels
    from .origins import Origins, trace_origins
    from .settings import PropagationSettings, WeightedSettings, part_weights
    from .similarity import similarity_map, window_cells
    from .spec import SearchSpec
    from .sweeping import SweepPass, label_settings, plan_passes, sweep
    from .targets.base import AnnotatedLabel, Target, annotation_labels

__all__ = [
    "AffinitySource",
    "AffinityUse",
    "AnnotatedLabel",
    "CachedAffinities",
    "ContextLabels",
    "FeatureReader",
    "FeatureVolume",
    "FrameAffinity",
    "FrameCandidates",
    "Fusion",
    "InProcess",
    "Origins",
    "Part",
    "PropagationSettings",
    "SearchSpec",
    "SweepPass",
    "Target",
    "WeightedSettings",
    "Workers",
    "affinities",
    "affinity_spec",
    "annotation_labels",
    "cache_affinities",
    "check_access",
    "choose_affinities",
    "connect",
    "find_cached",
    "finest_part",
    "label_frames",
    "label_settings",
    "part_weights",
    "plan_passes",
    "propagate",
    "propagate_labels",
    "search",
    "search_units",
    "similarity_map",
    "sweep",
    "trace_origins",
    "window_cells",
]

_MODULES = {
    "affinity_cache": (
        "CachedAffinities",
        "affinity_spec",
        "cache_affinities",
        "find_cached",
    ),
    "affinity_source": (
        "AffinitySource",
        "AffinityUse",
        "choose_affinities",
    ),
    "blocks": ("search_units",),
    "cluster": (
        "InProcess",
        "Workers",
        "check_access",
        "connect",
    ),
    "engine": (
        "FrameAffinity",
        "FrameCandidates",
        "affinities",
        "label_frames",
        "propagate",
        "search",
    ),
    "features": (
        "FeatureReader",
        "FeatureVolume",
        "Part",
        "finest_part",
    ),
    "fusion": ("Fusion",),
    "labels": (
        "ContextLabels",
        "propagate_labels",
    ),
    "origins": (
        "Origins",
        "trace_origins",
    ),
    "settings": (
        "PropagationSettings",
        "WeightedSettings",
        "part_weights",
    ),
    "similarity": (
        "similarity_map",
        "window_cells",
    ),
    "spec": ("SearchSpec",),
    "sweeping": (
        "SweepPass",
        "label_settings",
        "plan_passes",
        "sweep",
    ),
    "targets.base": (
        "AnnotatedLabel",
        "Target",
        "annotation_labels",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
