"""The result of a sweep: the scores of every video under every setting, and their means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ...tasks.base import Score
from ...tasks.metric_specs import MetricSpec, Values
from .space import Setting

__all__ = ["SettingMeans", "SweepResult", "VideoResult", "finite"]


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
        The video's score by setting.
    alpha_bars
        Clean share of the power of what the feature's network saw, by the feature; without those that have no noise,
        or whose units do not record it.
    """

    dataset: str
    video: str
    units: Mapping[str, str]
    scores: Mapping[Setting, Score]
    alpha_bars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SettingMeans:
    """The values of some videos together under one setting, as ``ted evaluate`` has them.

    Attributes
    ----------
    setting
        The setting.
    metric_spec
        What was measured.
    videos, objects
        How many; of videos that are measured as a whole, as many objects as videos.
    measures
        Values by the columns of the metric_spec; None for what was not measured.
    """

    setting: Setting
    metric_spec: MetricSpec
    videos: int
    objects: int
    measures: Values

    @property
    def score(self) -> float:
        """What settings are ranked by: J&F, or J where F was not measured; NaN where nothing was."""
        return self.metric_spec.score(self.measures)

    @property
    def rank(self) -> tuple[float, ...]:
        """The same, and what decides between equals; larger is better."""
        return self.metric_spec.rank(self.measures)


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """All scores of a sweep.

    Attributes
    ----------
    metric_spec
        What was measured.
    settings
        All settings of the sweep.
    videos
        Videos with their scores; those that failed may lack some settings.
    failures
        Why videos failed, by name.
    """

    metric_spec: MetricSpec
    settings: Sequence[Setting]
    videos: Sequence[VideoResult]
    failures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def complete(self) -> list[VideoResult]:
        """The videos that count in means: those with a score under every setting."""
        return [video for video in self.videos if len(video.scores) == len(self.settings)]

    @property
    def missing(self) -> dict[str, str]:
        """Why videos do not count in means, by name: they failed, or lack scores under some settings."""
        lacking = {
            video.video: f"has scores under {len(video.scores)} of {len(self.settings)} settings"
            for video in self.videos
            if len(video.scores) < len(self.settings)
        }
        return {**lacking, **self.failures}

    @cached_property
    def ranking(self) -> list[SettingMeans]:
        """Means under every setting, the best first; equal ones in the order of the settings."""
        return self._ranking(self.complete)

    @cached_property
    def by_video(self) -> dict[str, list[SettingMeans]]:
        """The ranking of each video by itself, by its name."""
        return {video.video: self._ranking([video]) for video in self.complete}

    def _ranking(self, videos: Sequence[VideoResult]) -> list[SettingMeans]:
        if not videos:
            return []
        means = [self._means(setting, [video.scores[setting] for video in videos]) for setting in self.settings]
        return sorted(means, key=lambda item: item.rank, reverse=True)

    def _means(self, setting: Setting, scores: Sequence[Score]) -> SettingMeans:
        return SettingMeans(
            setting=setting,
            metric_spec=self.metric_spec,
            videos=len(scores),
            objects=sum(len(score.rows) for score in scores),
            measures=type(scores[0]).means(scores),
        )


def finite(value: float | None) -> float | None:
    """Return None for what is not a number (the decay of very long videos): JSON knows no NaN."""
    return None if value is None or math.isnan(value) else value
