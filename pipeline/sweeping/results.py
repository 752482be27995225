"""The result of a sweep: the scores of every video under every setting, and their means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from .scores import ObjectScore
from .space import Setting

__all__ = ["MEASURES", "SettingMeans", "SweepResult", "VideoResult"]

#: Columns of measures, in the order of tables.
MEASURES = ("jf", "j", "j_recall", "j_decay", "f", "f_recall", "f_decay")


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """The scores of one video.

    Attributes
    ----------
    dataset, video
        Names.
    units
        The feature unit that each feature means for this video, ``backbone@digest:timestep:tap``, by the feature.
    scores
        The objects' scores by setting.
    alpha_bars
        Clean share of the power of what the feature's network saw, by the feature; without those that have no noise,
        or whose units do not record it.
    """

    dataset: str
    video: str
    units: Mapping[str, str]
    scores: Mapping[Setting, tuple[ObjectScore, ...]]
    alpha_bars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SettingMeans:
    """Means under one setting over all objects of some videos (not over videos), as the official evaluation has them.

    Attributes
    ----------
    setting
        The setting.
    videos, objects
        How many.
    measures
        Mean by the names in `MEASURES`; None for what was not measured. ``jf`` is J&F.
    """

    setting: Setting
    videos: int
    objects: int
    measures: Mapping[str, float | None]

    @property
    def score(self) -> float:
        """What settings are ranked by: J&F, or J where F was not measured."""
        value = self.measures["jf"]
        return float(self.measures["j"] or 0.0) if value is None else value


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """All scores of a sweep.

    Attributes
    ----------
    settings
        All settings of the sweep.
    videos
        Videos with their scores; those that failed may lack some settings.
    failures
        Why videos failed, by name.
    """

    settings: Sequence[Setting]
    videos: Sequence[VideoResult]
    failures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def complete(self) -> list[VideoResult]:
        """The videos that count in means: those with a score under every setting."""
        return [video for video in self.videos if len(video.scores) == len(self.settings)]

    @cached_property
    def ranking(self) -> list[SettingMeans]:
        """Means under every setting, the best first; equal ones in the order of the settings."""
        return _ranking(self.settings, self.complete)

    @cached_property
    def by_video(self) -> dict[str, list[SettingMeans]]:
        """The ranking of each video by itself, by its name."""
        return {video.video: _ranking(self.settings, [video]) for video in self.complete}


def _ranking(settings: Sequence[Setting], videos: Sequence[VideoResult]) -> list[SettingMeans]:
    if not videos:
        return []
    means = [_means(setting, [video.scores[setting] for video in videos]) for setting in settings]
    return sorted(means, key=lambda item: -item.score)


def _means(setting: Setting, videos: Sequence[tuple[ObjectScore, ...]]) -> SettingMeans:
    rows = [item.columns for objects in videos for item in objects]
    measures: dict[str, float | None] = {}
    for name in MEASURES[1:]:
        values = [row[name] for row in rows]
        known = [value for value in values if value is not None]
        measures[name] = fmean(known) if len(known) == len(values) else None
    j, f = measures["j"], measures["f"]
    jf = None if j is None or f is None else (j + f) / 2
    return SettingMeans(setting=setting, videos=len(videos), objects=len(rows), measures={"jf": jf} | measures)


def finite(value: float | None) -> float | None:
    """Return None for what is not a number (the decay of very long videos): JSON knows no NaN."""
    return None if value is None or math.isnan(value) else value
