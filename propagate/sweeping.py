"""Many settings from few passes over the features."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..store.errors import ConfigError, LabelError
from .engine import FrameCandidates, search
from .features import FeatureReader, FeatureVolume
from .labels import ContextLabels
from .settings import WeightedSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels, check_annotations

__all__ = ["SweepPass", "label_settings", "plan_passes", "sweep"]


@dataclass(frozen=True, kw_only=True)
class SweepPass:
    """Settings that one search serves.

    Attributes
    ----------
    parts
        Indices of the features that it reads.
    search
        What it looks for.
    settings
        The settings, each once.
    """

    parts: tuple[int, ...]
    search: SearchSpec
    settings: tuple[WeightedSettings, ...]


def plan_passes(
    settings: Sequence[WeightedSettings], grids: Sequence[Hashable], annotated: tuple[int, ...] = (0,)
) -> list[SweepPass]:
    """Divide settings into few passes over the features, each setting with the numbers of a run of its own.

    There is one pass for each radius. Where the features have different grids, settings that weigh different features
    go by themselves, since the grid of a run is the finest among the features with a weight.

    Parameters
    ----------
    settings
        Settings; repeated ones count once.
    grids
        The grid (y, x) of each feature, or anything else that is equal for features of one grid alone.
    annotated
        Indices of the frames with a given label, rising.

    Returns
    -------
    list of SweepPass
        In the order in which the settings need them; each setting is in exactly one.
    """
    apart = len(set(grids)) > 1
    shares: dict[tuple[int, tuple[int, ...]], list[WeightedSettings]] = {}
    for item in dict.fromkeys(settings):
        shares.setdefault((item.settings.radius, item.used_parts if apart else ()), []).append(item)
    passes = []
    for (radius, _), some in shares.items():
        # Features that no setting of a pass weighs are not read.
        parts = tuple(sorted({part for item in some for part in item.used_parts}))
        fusions = tuple(dict.fromkeys(item.fusion(parts) for item in some))
        top_k = max(item.settings.top_k for item in some)
        wanted = SearchSpec(radius=radius, top_k=top_k, fusions=fusions, annotated=annotated)
        passes.append(SweepPass(parts=parts, search=wanted, settings=tuple(some)))
    return passes


def label_settings(
    steps: Iterable[FrameCandidates],
    given: torch.Tensor | Mapping[int, AnnotatedLabel],
    shared: SweepPass,
    settings: Sequence[WeightedSettings] | None = None,
) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Carry given labels through a video with several settings at once.

    Candidates are ranked once for each fusion (weights, context, renormalize); every top-k is the beginning of that
    ranking, and every temperature a softmax over it.

    Parameters
    ----------
    steps
        Candidates that the pass's search found.
    given
        Labels of the frames that the search takes for annotated, on the candidates' grid and device; or that of
        frame 0, (channel, y, x).
    shared
        The pass.
    settings
        Some of its settings; all by default.

    Yields
    ------
    frame : int
        Index of the frame; the first annotated one is left out.
    labels : list of torch.Tensor
        Its soft label for each of the settings, in their order: (channel, y, x), float32.
    """
    some = shared.settings if settings is None else tuple(settings)
    fusions = [item.fusion(shared.parts) for item in some]
    largest = {
        fusion: max(item.settings.top_k for item, theirs in zip(some, fusions, strict=True) if theirs == fusion)
        for fusion in fusions
    }
    labels = ContextLabels(annotation_labels(given), len(some))
    for step in steps:
        ranked = {fusion: step.rank(fusion, top_k) for fusion, top_k in largest.items()}
        theirs = [
            (ranked[fusion], item.settings.top_k, item.settings.temperature)
            for item, fusion in zip(some, fusions, strict=True)
        ]
        yield step.frame, labels.advance(step.frame, step.context, theirs)


def sweep(
    volumes: Sequence[FeatureVolume],
    given: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: Sequence[WeightedSettings],
    *,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[WeightedSettings, int, torch.Tensor]]:
    """Propagate given labels through a video with many settings, each as a run of its own would.

    The features are read once for each radius. In memory are one context of features, and one of labels for each
    setting.

    Parameters
    ----------
    volumes
        Features of one video, which the settings weigh.
    given
        Labels of the annotated frames by their indices, on the features' grid; or the soft label of frame 0,
        (channel, y, x).
    settings
        The settings.
    device
        Where to compute.

    Yields
    ------
    settings : WeightedSettings
        One of the settings.
    frame : int
        Index of the frame; all settings of a pass come for one frame before the next. The first annotated frame is
        left out.
    label : torch.Tensor
        Soft label: (channel, y, x), float32.

    Raises
    ------
    ConfigError
        For settings with another number of weights than there are features; or where the grids of the features
        differ, and labels fit the grid of some settings alone.
    LabelError
        For labels that are not on the features' grid.
    """
    for item in settings:
        if len(item.weights) != len(volumes):
            raise ConfigError(f"settings weigh {len(item.weights)} features; there are {len(volumes)}")
    labels = annotation_labels(given, device)
    passes = plan_passes(settings, [FeatureReader([(volume, 1.0)]).grid for volume in volumes], tuple(labels))
    for shared in passes:
        parts = [volumes[part] for part in shared.parts]
        sources = FeatureReader([(part, 1.0) for part in parts])
        try:
            check_annotations(labels, sources.grid, sources.frame_count)
        except LabelError as error:
            raise (LabelError if len({p.parts for p in passes}) == 1 else ConfigError)(
                f"{error}; with features of different grids, sweep settings that weigh the same features one by one"
            ) from error
        steps = search(parts, shared.search, device=device)
        for frame, of_settings in label_settings(steps, labels, shared):
            for item, soft in zip(shared.settings, of_settings, strict=True):
                yield item, frame, soft
