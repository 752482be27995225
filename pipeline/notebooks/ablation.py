"""Ablations: J&F of features, alone and fused, from one cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from ...propagate import InProcess, PropagationSettings
from ...store.errors import ConfigError, TedError
from ..runs.sweeping.journal import open_journal
from ..runs.sweeping.planning import plan_sweep, sweep_result
from ..runs.sweeping.running import run_sweep
from ..runs.sweeping.space import SweepSpace
from ..tasks.masks.evaluation import Masks
from .collection import Collection
from .recipes import Feature

__all__ = ["Score", "ablate"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well features track.

    Attributes
    ----------
    video, image
        The features; None for one that alpha gives no weight.
    alpha
        Weight of the first; the second weighs 1 - alpha.
    objects
        J&F of each object of each video, in [0, 1], in the order of the videos.
    """

    video: Feature | None
    image: Feature | None
    alpha: float
    objects: tuple[float, ...]

    @property
    def jf(self) -> float:
        """J&F: the mean over the objects of all videos, as DAVIS has it."""
        return fmean(self.objects)


def ablate(
    collection: Collection,
    *,
    video: Sequence[Feature] = (),
    image: Sequence[Feature] = (),
    alphas: Sequence[float] | None = None,
    settings: PropagationSettings,
) -> list[Score]:
    """Score all pairs of features at all alphas, as `ted sweep` does.

    What was scored before in the collection's folder is not computed again. Affinities are kept in the cache.

    Parameters
    ----------
    collection
        The cache, and videos with ground truth.
    video, image
        Features that alpha, and 1 - alpha, weighs; any of the cache's, also two of one kind.
    alphas
        Weights of `video`, in [0, 1]; `image` weighs ``1 - alpha``. Needed only where both are given.
    settings
        All other parameters.

    Returns
    -------
    list of Score
        Each setting once: an alpha of 0 or 1 leaves a feature out.

    Raises
    ------
    ConfigError
        When both `video` and `image` are given, and no alphas.
    TedError
        When a video cannot be swept; the message says why.
    """
    if alphas is None:
        if video and image:
            raise ConfigError("features of two kinds are fused: name the weights of the first, alphas")
        alphas = (float(bool(video)),)
    found: dict[tuple[Feature | None, Feature | None, float], list[float]] = {}
    with open_journal(collection.folder / "sweep") as journal:
        for one in collection.videos:
            meant = {feature.choice(one): feature for feature in (*video, *image)}
            space = SweepSpace(
                video_features=tuple(feature.choice(one) for feature in video) or (None,),
                image_features=tuple(feature.choice(one) for feature in image) or (None,),
                alphas=tuple(alphas),
                temperatures=(settings.temperature,),
                top_ks=(settings.top_k,),
                radii=(settings.radius,),
                contexts=(settings.context,),
                renormalize=settings.renormalize,
            )
            plan = plan_sweep(collection.cache, [one], space, journal.scores, kind=Masks())
            plan, _ = run_sweep(
                collection.cache,
                plan,
                journal,
                workers=InProcess(),
                device=torch.device("cpu"),
                keep=True,
                progress=_Silent(),
            )
            for name, reason in plan.failures.items():
                raise TedError(f"{name} cannot be scored: {reason}")
            (result,) = sweep_result(plan, journal).videos
            for setting in plan.settings:
                first = meant[setting.video] if setting.video else None
                second = meant[setting.image] if setting.image else None
                of_objects = [row.values["jf"] for row in result.scores[setting].rows]
                values = found.setdefault((first, second, setting.alpha), [])
                values += [value for value in of_objects if value is not None]
    return [Score(video=a, image=b, alpha=alpha, objects=tuple(values)) for (a, b, alpha), values in found.items()]


class _Silent:
    """No progress: a cell is done when it is done."""

    def affinities(self, frames: int) -> None:
        pass

    def scores(self, settings: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass
