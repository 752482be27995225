"""The result of a sweep: the scores of every video under every setting, and their means."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ...choices.presets import DEFAULT, get_preset
from ...tasks.base import Score
from ...tasks.scoring import MetricSpec, Values
from .space import Setting


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """The scores of one video by setting; the unit (``backbone@digest:timestep:tap``) and noise level by feature.

    Features without noise, and units that do not record it, have no noise level.
    """

    dataset: str
    video: str
    units: Mapping[str, str]
    scores: Mapping[Setting, Score]
    alpha_bars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SettingMeans:
    """Means over videos under one setting, as ``ted evaluate`` computes them; None for a metric that was not computed.

    The numbers of videos and objects are equal if videos are scored as a whole.
    """

    setting: Setting
    metric_spec: MetricSpec
    videos: int
    objects: int
    measures: Values

    @property
    def score(self) -> float:
        """The metric that ranks settings: J&F, or J without F; NaN if nothing was measured."""
        return self.metric_spec.score(self.measures)

    @property
    def rank(self) -> tuple[float, ...]:
        """The score and the tie-breakers; larger is better."""
        return self.metric_spec.rank(self.measures)


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """All scores of a sweep. Videos that failed may lack some settings; `failures` has the reasons by name.

    `preferred` has the fields, with their values, that chose between units; see `Cache.find`.
    """

    metric_spec: MetricSpec
    settings: Sequence[Setting]
    videos: Sequence[VideoResult]
    failures: Mapping[str, str] = field(default_factory=dict)
    preferred: Sequence[tuple[str, str]] = ()

    def options(self, setting: Setting) -> str:
        """Return the options of ``ted propagate`` that give the labels of a setting, from the same features."""
        usual, chosen = dict(get_preset(DEFAULT).preferences), dict(reversed(self.preferred))
        prefer = [
            shlex.quote(f"{name}={chosen[name]}") for name in dict(self.preferred) if usual.get(name) != chosen[name]
        ]
        return " ".join([setting.options, *(f"--prefer {text}" for text in prefer)])

    @cached_property
    def complete(self) -> list[VideoResult]:
        """Videos with a score under every setting: only these count in means."""
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
        """Means under every setting, the best first; ties keep the order of the settings."""
        return self._ranking(self.complete)

    @cached_property
    def by_video(self) -> dict[str, list[SettingMeans]]:
        """The ranking of each video on its own, by name."""
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
