"""Ablations: J&F of single and fused features from one cache."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import torch

from ...propagate import InProcess, PropagationSettings
from ...store.errors import ConfigError, TedError
from ..runs.sweeping.journal import open_journal
from ..runs.sweeping.planning import plan_sweep, sweep_result
from ..runs.sweeping.running import run_sweep
from ..runs.sweeping.space import SweepSpace
from ..tasks.masks.task import MaskTask
from .collection import Collection
from .recipes import Feature


@dataclass(frozen=True, kw_only=True)
class Score:
    """J&F of each object in [0, 1], in the order of the videos, for one pair of features.

    `video` weighs alpha and `image` 1 - alpha; one without weight is None.
    """

    video: Feature | None
    image: Feature | None
    alpha: float
    objects: tuple[float, ...]

    @property
    def jf(self) -> float:
        """Mean J&F over the objects of all videos, as DAVIS defines it."""
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

    Scores are read from the collection's folder if it has them. Affinities are cached.

    `video` and `image` are features of any backbones, weighted by alpha and by 1 - alpha. `alphas`, in [0, 1], are
    required if both are given; with 0 or 1, a setting has only one feature. The videos need ground truth.

    Raises
    ------
    ConfigError
        If `alphas` is missing.
    TedError
        If a video cannot be scored.
    """
    if alphas is None:
        if video and image:
            raise ConfigError("give alphas, the weights of the first features, to fuse two kinds of features")
        alphas = (float(bool(video)),)
    found: dict[tuple[Feature | None, Feature | None, float], list[float]] = {}
    with open_journal(collection.folder / "sweep") as journal:
        for one in collection.videos:
            feature_of = {feature.choice(one): feature for feature in (*video, *image)}
            first, second = (tuple(feature.choice(one) for feature in some) or (None,) for some in (video, image))
            values = {field.name: (getattr(settings, field.name),) for field in fields(settings)}
            space = SweepSpace.pair(first, second, alphas, values)
            plan = plan_sweep(collection.cache, [one], space, journal.scores, task=MaskTask())
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
                pair = [None if choice is None else feature_of[choice] for choice in setting.features]
                scores = found.setdefault((pair[0], pair[1], setting.weights[0]), [])
                scores += [value for row in result.scores[setting].rows if (value := row.values["jf"]) is not None]
    return [Score(video=a, image=b, alpha=alpha, objects=tuple(values)) for (a, b, alpha), values in found.items()]


class _Silent:
    """Progress that prints nothing."""

    def affinities(self, frames: int) -> None:
        pass

    def scores(self, settings: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass
