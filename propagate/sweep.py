"""Many settings from few passes over the features."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..store.errors import ConfigError, LabelError
from .engine import ANNOTATED, FrameCandidates, search
from .fusion import Fusion
from .labels import ContextLabels
from .search import Search
from .settings import PropagationSettings
from .sources import FeatureVolume, Sources

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


def plan_passes(settings: Sequence[PropagationSettings], grids: Sequence[Hashable]) -> list[SweepPass]:
    """Share out settings among as few passes over the features as give each the same numbers as a run of its own.

    Those are one for each radius; and where the two features have different grids, alpha 0 and alpha 1, for which the
    grid is that of one feature alone, go by themselves.

    Parameters
    ----------
    settings
        Settings; repeated ones count once.
    grids
        Of the video and of the image feature, what tells their places apart: (y, x), or that with more.

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
        wanted = Search(radius=radius, top_k=max(item.top_k for item in some), fusions=fusions)
        passes.append(SweepPass(parts=parts, search=wanted, settings=tuple(some)))
    return passes


def label_settings(
    steps: Iterable[FrameCandidates],
    first_label: torch.Tensor,
    shared: SweepPass,
    settings: Sequence[PropagationSettings] | None = None,
) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Carry the first frame's label through a video with several settings at once.

    Candidates are ranked once for each fusion (alpha, context, renormalize); every top-k is the beginning of that
    ranking, and every temperature a softmax over it.

    Parameters
    ----------
    steps
        Candidates of the frames 1, 2, ..., which the pass's search found.
    first_label
        (channel, y, x), float32, on the candidates' grid and device.
    shared
        The pass.
    settings
        Some of its settings; all by default.

    Yields
    ------
    frame : int
        Index of the frame, from 1.
    labels : list of torch.Tensor
        Its soft label for each of the settings, in their order: (channel, y, x), float32.
    """
    some = shared.settings if settings is None else tuple(settings)
    fusions = [shared.fusion(item) for item in some]
    largest = {
        fusion: max(item.top_k for item, theirs in zip(some, fusions, strict=True) if theirs == fusion)
        for fusion in fusions
    }
    labels = ContextLabels(dict.fromkeys(ANNOTATED, first_label), len(some))
    for step in steps:
        ranked = {fusion: step.rank(fusion, top_k) for fusion, top_k in largest.items()}
        given = [(ranked[fusion], item.top_k, item.temperature) for item, fusion in zip(some, fusions, strict=True)]
        yield step.frame, labels.advance(step.frame, step.context, given)


def sweep(
    video: FeatureVolume,
    image: FeatureVolume,
    first_label: torch.Tensor,
    settings: Sequence[PropagationSettings],
    *,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[PropagationSettings, int, torch.Tensor]]:
    """Propagate the first frame's label through a video with many settings, each as a run of its own would.

    The features are read once for each radius. In memory are one context of features, and one of labels for each
    setting.

    Parameters
    ----------
    video, image
        Features, which weigh alpha and 1 - alpha.
    first_label
        Soft label of frame 0: (channel, y, x), on the features' grid.
    settings
        The settings.
    device
        Where to compute.

    Yields
    ------
    settings : PropagationSettings
        One of the settings.
    frame : int
        Index of the frame, from 1; all settings of a pass come for one frame before the next.
    label : torch.Tensor
        Soft label: (channel, y, x), float32.

    Raises
    ------
    ConfigError
        For features of different grids, if some settings look at one alone and others at both.
    LabelError
        For a label that is not on the features' grid.
    """
    volumes = (video, image)
    passes = plan_passes(settings, [Sources([(volume, 1.0)]).grid for volume in volumes])
    for shared in passes:
        parts = [volumes[part] for part in shared.parts]
        grid = Sources([(part, 1.0) for part in parts]).grid
        if first_label.ndim != 3 or tuple(first_label.shape[1:]) != grid:
            raise (LabelError if len({p.parts for p in passes}) == 1 else ConfigError)(
                f"the first label, of shape {tuple(first_label.shape)}, is not on the features' grid {grid}; with "
                "features of different grids, sweep alpha 0, alpha 1 and what lies between one by one"
            )
        label = first_label.to(torch.device(device), torch.float32)
        for frame, labels in label_settings(search(parts, shared.search, device=device), label, shared):
            for item, soft in zip(shared.settings, labels, strict=True):
                yield item, frame, soft


def _fusion(settings: PropagationSettings, parts: Sequence[int]) -> Fusion:
    whole = Fusion.of(settings)
    return Fusion(
        weights=tuple(whole.weights[part] for part in parts), context=whole.context, renormalize=whole.renormalize
    )
