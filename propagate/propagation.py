"""Propagation through one video, with one setting or with many."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..store.errors import ConfigError, LabelError
from .candidate_search import search
from .features import FeatureReader, FeatureVolume, Part
from .labels import label_frames
from .settings import PropagationSettings, WeightedSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels, check_annotations

__all__ = ["SweepPass", "plan_passes", "propagate", "sweep"]


def propagate(
    parts: Sequence[Part],
    annotations: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: PropagationSettings,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Propagate annotated labels through a video (TED, Algorithm 1).

    Labels travel forward from the first annotated frame; every annotated frame on the way stays in the context of all
    later frames. Frames before the first are then reached backward, from it alone (docs/reference/engine.md).

    Parameters
    ----------
    parts
        Features and their weights; for TED's two, video and image, the weights are `part_weights` of alpha. A part of
        weight 0 is not read.
    annotations
        Labels of the annotated frames by index, on the grid of the finest part (`FeatureReader.grid`), as a target
        encodes them; or the soft label of frame 0, (channel, y, x).
    settings
        Parameters.
    device
        Where to compute.
    progress
        Called after each frame with the number of frames done and the number of frames.

    Returns
    -------
    iterator of (int, torch.Tensor)
        Index and soft label, (channel, y, x), float32, on `device`, of every frame, in the order of propagation: the
        first annotated one, as annotated, those after it, and those before it, backward.

    Raises
    ------
    ConfigError
        For parts that cannot be fused (at once).
    LabelError
        For labels that are not on the features' grid, or none (at once).
    CorruptUnitError
        For features that are not finite (when their frame is reached).
    """
    reader = FeatureReader(parts)
    labels = annotation_labels(annotations, device)
    check_annotations(labels, reader.grid, reader.frame_count)
    weighted = WeightedSettings(weights=reader.weights, settings=settings)
    spec = SearchSpec.of(settings, [weighted.fusion()], annotated=tuple(labels))
    steps = search([volume for volume, weight in parts if weight > 0], spec, device=device)

    def every_frame() -> Iterator[tuple[int, torch.Tensor]]:
        for done, (frame, (label,)) in enumerate(label_frames(steps, labels, [weighted]), 1):
            if progress is not None:
                progress(done, reader.frame_count)
            yield frame, label

    return every_frame()


@dataclass(frozen=True, kw_only=True)
class SweepPass:
    """Settings that one search serves.

    Attributes
    ----------
    parts
        Indices of the features that it reads.
    search
        The search.
    settings
        The settings, each once, with the weights of all features.
    """

    parts: tuple[int, ...]
    search: SearchSpec
    settings: tuple[WeightedSettings, ...]


def plan_passes(
    settings: Sequence[WeightedSettings], grids: Sequence[Hashable], annotated: tuple[int, ...] = (0,)
) -> list[SweepPass]:
    """Divide settings into few passes over the features, each setting with the numbers of a run of its own.

    There is one pass for each kernel and search window (and for each context if the kernel needs that). Where the
    features have different grids, settings that weigh different features go by themselves, since the grid of a run is
    the finest among the features with a weight.

    Parameters
    ----------
    settings
        Settings; repeated ones count once.
    grids
        The grid (y, x) of each feature, or anything else that is equal for features of one grid alone.
    annotated
        Indices of the annotated frames, rising.

    Returns
    -------
    list of SweepPass
        In the order in which the settings need them; each setting is in exactly one.
    """
    apart = len(set(grids)) > 1
    shares: dict[Hashable, list[WeightedSettings]] = {}
    for item in dict.fromkeys(settings):
        used = item.used_parts if apart else ()
        region = SearchSpec.of(item.settings, [item.fusion()]).region
        context = None if item.settings.kernel.joint_contexts else item.settings.context
        shares.setdefault((region, context, used), []).append(item)
    passes = []
    for some in shares.values():
        # Features that no setting of a pass weighs are not read.
        parts = tuple(sorted({part for item in some for part in item.used_parts}))
        fusions = dict.fromkeys(item.fusion(parts) for item in some)
        top_k = max(item.settings.top_k for item in some)
        spec = SearchSpec.of(some[0].settings, [*fusions], annotated=annotated, top_k=top_k)
        passes.append(SweepPass(parts=parts, search=spec, settings=tuple(some)))
    return passes


def sweep(
    volumes: Sequence[FeatureVolume],
    annotations: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: Sequence[WeightedSettings],
    *,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[WeightedSettings, int, torch.Tensor]]:
    """Propagate annotated labels through a video with many settings, each as a run of its own would.

    The features are read once for each pass of `plan_passes`. In memory are one context of features, and one of labels
    for each setting.

    Parameters
    ----------
    volumes
        Features of one video, which the settings weigh.
    annotations
        Labels of the annotated frames by index, on the features' grid; or the soft label of frame 0, (channel, y, x).
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
    labels = annotation_labels(annotations, device)
    passes = plan_passes(settings, [FeatureReader([(volume, 1.0)]).grid for volume in volumes], tuple(labels))
    for shared in passes:
        parts = [volumes[part] for part in shared.parts]
        reader = FeatureReader([(part, 1.0) for part in parts])
        try:
            check_annotations(labels, reader.grid, reader.frame_count)
        except LabelError as error:
            raise (LabelError if len({p.parts for p in passes}) == 1 else ConfigError)(
                f"{error}; with features of different grids, sweep settings that weigh the same features one by one"
            ) from error
        chosen = [item.of_parts(shared.parts) for item in shared.settings]
        for frame, of_settings in label_frames(search(parts, shared.search, device=device), labels, chosen):
            if frame != next(iter(labels)):
                for item, label in zip(shared.settings, of_settings, strict=True):
                    yield item, frame, label
