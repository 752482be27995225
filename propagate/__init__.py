"""Propagation of labels through a video along the similarity of its features.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from ..store.lazy import lazy_names

if TYPE_CHECKING:
    from .affinity_cache import CachedAffinities, affinity_spec, cache_affinities, find_cached
    from .affinity_source import AffinitySource, AffinityUse
    from .candidate_search import CandidateSource, FeatureSearch, FoundCandidates, FrameCandidates, search
    from .cluster import InProcess, Workers, check_access, connect
    from .features import FeatureReader, FeatureVolume, Part, finest_part
    from .fusion import Fusion
    from .head_weights import (
        LearnedHeads,
        learn_head_weights,
        learn_head_weights_from_maps,
        store_head_weights,
        with_learned_heads,
    )
    from .interpolation import ReadOutSettings, labels_of_pair
    from .kernels import (
        AttentionKernel,
        CosineKernel,
        Kernel,
        KernelParameter,
        get_kernel,
        kernel_class,
        kernel_names,
        parse_kernel,
    )
    from .kernels.candidates import Affinity, Candidates
    from .kernels.dense import DenseKernel
    from .kernels.window import window_mask
    from .origins import Origins, trace_origins
    from .propagation import SweepPass, plan_passes, propagate, sweep
    from .session import FrameAffinity, SessionCancelled, SessionRun, TrackingSession
    from .settings import PropagationSettings, WeightedSettings, part_weights
    from .spec import SearchSpec
    from .targets.base import AnnotatedLabel, Target, annotation_labels

__all__ = [
    "Affinity",
    "AffinitySource",
    "AffinityUse",
    "AnnotatedLabel",
    "AttentionKernel",
    "CachedAffinities",
    "CandidateSource",
    "Candidates",
    "CosineKernel",
    "DenseKernel",
    "FeatureReader",
    "FeatureSearch",
    "FeatureVolume",
    "FoundCandidates",
    "FrameAffinity",
    "FrameCandidates",
    "Fusion",
    "InProcess",
    "Kernel",
    "KernelParameter",
    "LearnedHeads",
    "Origins",
    "Part",
    "PropagationSettings",
    "ReadOutSettings",
    "SearchSpec",
    "SessionCancelled",
    "SessionRun",
    "SweepPass",
    "Target",
    "TrackingSession",
    "WeightedSettings",
    "Workers",
    "affinity_spec",
    "annotation_labels",
    "cache_affinities",
    "check_access",
    "connect",
    "find_cached",
    "finest_part",
    "get_kernel",
    "kernel_class",
    "kernel_names",
    "labels_of_pair",
    "learn_head_weights",
    "learn_head_weights_from_maps",
    "parse_kernel",
    "part_weights",
    "plan_passes",
    "propagate",
    "search",
    "store_head_weights",
    "sweep",
    "trace_origins",
    "window_mask",
    "with_learned_heads",
]

__getattr__ = lazy_names(__name__, __file__)
