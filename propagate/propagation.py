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

    Labels are propagated forward from the first annotated frame; every annotated frame stays in the context of all
    later frames. They are then propagated backward, from the first annotated frame only (docs/reference/engine.md).

    Parameters
    ----------
    parts
        Features and their weights; `part_weights` gives those of TED's two parts, video and image. A part of weight 0
        is not read.
    annotations
        Labels of the annotated frames by index, on the grid of the finest part (`FeatureReader.grid`), as a target
        encodes them; or the soft label of frame 0, (channel, y, x).
    settings
        Parameters.
    device
        Device to compute on.
    progress
        Called after each frame with the number of frames done and the total number.

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
    """Settings that share one search.

    Attributes
    ----------
    parts
        Indices of the features to read.
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
    """Divide settings into few passes over the features, without changing any setting's result.

    There is one pass for each kernel and search window (and for each context if the kernel needs that). If the features
    have different grids, settings with different features of positive weight get separate passes, since the grid of a
    run is that of its finest feature.

    Parameters
    ----------
    settings
        Settings; repeated ones count once.
    grids
        The grid (y, x) of each feature, or any value that is equal if and only if the grids are equal.
    annotated
        Indices of the annotated frames, rising.

    Returns
    -------
    list of SweepPass
        In the order of their first settings; each setting is in exactly one pass.
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
        # Do not read features that have weight 0 in all settings of a pass.
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
    """Propagate annotated labels through a video with many settings; labels equal those of separate runs.

    The features are read once for each pass of `plan_passes`. Memory holds the features of one context, and for each
    setting the labels of one context.

    Parameters
    ----------
    volumes
        Features of one video, one for each weight of a setting.
    annotations
        Labels of the annotated frames by index, on the features' grid; or the soft label of frame 0, (channel, y, x).
    settings
        The settings.
    device
        Device to compute on.

    Yields
    ------
    settings : WeightedSettings
        One of the settings.
    frame : int
        Index of the frame. Each pass yields all its settings for one frame before the next. The first annotated frame
        is not yielded.
    label : torch.Tensor
        Soft label: (channel, y, x), float32.

    Raises
    ------
    ConfigError
        If a setting has another number of weights than there are features; or if the features' grids differ and the
        labels fit only the grid of some settings.
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
