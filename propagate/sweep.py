"""Many settings from few passes over the features."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..store.errors import ConfigError, LabelError
from .engine import FrameCandidates, search
from .fusion import Fusion
from .labels import ContextLabels
from .search import Search
from .settings import PropagationSettings
from .sources import FeatureVolume, Sources
from .targets.base import AnnotatedLabel, annotation_labels, check_annotations

__all__ = ["SweepPass", "label_settings", "plan_passes", "sweep"]


@dataclass(frozen=True, kw_only=True)
class SweepPass:
    """Settings that one search serves.

    Attributes
    ----------
    parts
        Which of the features, (video, image), it reads.
    search
        What it looks for.
    settings
        The settings, each once.
    """

    parts: tuple[int, ...]
    search: Search
    settings: tuple[PropagationSettings, ...]

    def fusion(self, settings: PropagationSettings) -> Fusion:
        """Return the fusion, of the parts that are read, that settings ask for."""
        return _fusion(settings, self.parts)


def plan_passes(
    settings: Sequence[PropagationSettings], grids: Sequence[Hashable], annotated: tuple[int, ...] = (0,)
) -> list[SweepPass]:
    """Share out settings among as few passes over the features as give each the same numbers as a run of its own.

    Those are one for each radius; and where the two features have different grids, alpha 0 and alpha 1, for which the
    grid is that of one feature alone, go by themselves.

    Parameters
    ----------
    settings
        Settings; repeated ones count once.
    grids
        Of the video and of the image feature, what tells their places apart: (y, x), or that with more.
    annotated
        Indices of the frames with a given label, rising.

    Returns
    -------
    list of SweepPass
        In the order in which the settings need them; each setting is in exactly one.
    """
    apart = len(set(grids)) > 1
    shares: dict[tuple[int, tuple[int, ...]], list[PropagationSettings]] = {}
    for item in dict.fromkeys(settings):
        weights = Fusion.of(item).weights
        used = tuple(part for part, weight in enumerate(weights) if weight > 0)
        shares.setdefault((item.radius, used if apart else ()), []).append(item)
    passes = []
    for (radius, used), some in shares.items():
        # Where no setting of a pass looks at a feature, neither does the pass.
        every = {part for item in some for part, weight in enumerate(Fusion.of(item).weights) if weight > 0}
        parts = used or tuple(sorted(every))
        fusions = tuple(dict.fromkeys(_fusion(item, parts) for item in some))
        top_k = max(item.top_k for item in some)
        wanted = Search(radius=radius, top_k=top_k, fusions=fusions, annotated=annotated)
        passes.append(SweepPass(parts=parts, search=wanted, settings=tuple(some)))
    return passes


def label_settings(
    steps: Iterable[FrameCandidates],
    given: torch.Tensor | Mapping[int, AnnotatedLabel],
    shared: SweepPass,
    settings: Sequence[PropagationSettings] | None = None,
) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Carry given labels through a video with several settings at once.

    Candidates are ranked once for each fusion (alpha, context, renormalize); every top-k is the beginning of that
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
    fusions = [shared.fusion(item) for item in some]
    largest = {
        fusion: max(item.top_k for item, theirs in zip(some, fusions, strict=True) if theirs == fusion)
        for fusion in fusions
    }
    labels = ContextLabels(annotation_labels(given), len(some))
    for step in steps:
        ranked = {fusion: step.rank(fusion, top_k) for fusion, top_k in largest.items()}
        theirs = [(ranked[fusion], item.top_k, item.temperature) for item, fusion in zip(some, fusions, strict=True)]
        yield step.frame, labels.advance(step.frame, step.context, theirs)


def sweep(
    video: FeatureVolume,
    image: FeatureVolume,
    given: torch.Tensor | Mapping[int, AnnotatedLabel],
    settings: Sequence[PropagationSettings],
    *,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[PropagationSettings, int, torch.Tensor]]:
    """Propagate given labels through a video with many settings, each as a run of its own would.

    The features are read once for each radius. In memory are one context of features, and one of labels for each
    setting.

    Parameters
    ----------
    video, image
        Features, which weigh alpha and 1 - alpha.
    given
        Labels of the annotated frames by their indices, on the features' grid; or the soft label of frame 0,
        (channel, y, x).
    settings
        The settings.
    device
        Where to compute.

    Yields
    ------
    settings : PropagationSettings
        One of the settings.
    frame : int
        Index of the frame; all settings of a pass come for one frame before the next. The first annotated frame is
        left out.
    label : torch.Tensor
        Soft label: (channel, y, x), float32.

    Raises
    ------
    ConfigError
        For features of different grids, if some settings look at one alone and others at both.
    LabelError
        For labels that are not on the features' grid.
    """
    volumes = (video, image)
    labels = annotation_labels(given, device)
    passes = plan_passes(settings, [Sources([(volume, 1.0)]).grid for volume in volumes], tuple(labels))
    for shared in passes:
        parts = [volumes[part] for part in shared.parts]
        sources = Sources([(part, 1.0) for part in parts])
        try:
            check_annotations(labels, sources.grid, sources.frame_count)
        except LabelError as error:
            raise (LabelError if len({p.parts for p in passes}) == 1 else ConfigError)(
                f"{error}; with features of different grids, sweep alpha 0, alpha 1 and what lies between one by one"
            ) from error
        steps = search(parts, shared.search, device=device)
        for frame, of_settings in label_settings(steps, labels, shared):
            for item, soft in zip(shared.settings, of_settings, strict=True):
                yield item, frame, soft


def _fusion(settings: PropagationSettings, parts: Sequence[int]) -> Fusion:
    whole = Fusion.of(settings)
    return Fusion(
        weights=tuple(whole.weights[part] for part in parts), context=whole.context, renormalize=whole.renormalize
    )
