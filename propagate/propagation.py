"""Propagation through one video, with one setting or with many."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..store.errors import ConfigError, LabelError
from .candidate_search import FeatureSearch
from .features import FeatureReader, FeatureVolume, Part
from .session import TrackingSession
from .settings import PropagationSettings, WeightedSettings
from .spec import SearchSpec
from .targets.base import AnnotatedLabel, annotation_labels


def propagate(
    parts: Sequence[Part],
    annotations: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: PropagationSettings,
    *,
    device: torch.device | str = "cpu",
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

    Returns
    -------
    iterator of (int, torch.Tensor)
        As `TrackingSession.labels`, with its errors. Memory holds one context, whatever the length of the video.
    """
    return TrackingSession(parts, settings, annotations, device=device, memory=0).labels()


@dataclass(frozen=True, kw_only=True)
class SweepPass:
    """Settings, each once, that share one search in the features with the indices `parts`."""

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

    Passes are in the order of their first settings. Each setting is in exactly one; repeated ones count once. `grids`
    are those of the features, (y, x), or any values that are equal if and only if the grids are equal.
    """
    apart = len(set(grids)) > 1
    shares: dict[Hashable, list[WeightedSettings]] = {}
    for item in dict.fromkeys(settings):
        context = None if item.settings.kernel.joint_contexts else item.settings.context
        shares.setdefault((item.settings.region, context, item.used_parts if apart else ()), []).append(item)
    passes = []
    for some in shares.values():
        parts, spec = SearchSpec.shared(some, annotated=annotated)
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
    annotations, device
        As in `propagate`.

    Yields
    ------
    (WeightedSettings, int, torch.Tensor)
        A setting, the index of a frame, and its soft label, (channel, y, x), float32. Each pass yields all its settings
        for one frame before the next. The first annotated frame is not yielded.

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
    labels = annotation_labels(annotations)
    passes = plan_passes(settings, [FeatureReader([(volume, 1.0)]).grid for volume in volumes], tuple(labels))
    for shared in passes:
        session = TrackingSession(FeatureSearch(volumes, device=device), shared.settings[0], labels, memory=0)
        try:
            frames = session.sweep(shared.settings)
        except LabelError as error:
            raise (LabelError if len({p.parts for p in passes}) == 1 else ConfigError)(
                f"{error}; with features of different grids, sweep settings that weigh the same features one by one"
            ) from error
        for frame, of_settings in frames:
            if frame != next(iter(labels)):
                for item, label in zip(shared.settings, of_settings, strict=True):
                    yield item, frame, label
