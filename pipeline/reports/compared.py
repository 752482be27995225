"""What a report compares: each folder's results, those of controls by themselves."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...store import FeatureChoice
from ..runs.extracting.noise_level import snr_db
from ..runs.sweeping.axes import axis_label
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.space import Setting
from ..tasks.metric_specs import MASKS, MetricSpec
from .evaluated import as_number
from .propagated import Propagation
from .swept import Sweep
from .used import Origins, UsedUnit
from .views import Cell, number

__all__ = ["Compared", "exact_text", "from_propagation", "from_sweep", "measure_of"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Results that stand beside others in every table and chart.

    Attributes
    ----------
    name
        Of the folder, and of the set if there are several.
    controls
        What controls they are; empty for results proper.
    metric_spec
        What was measured, if anything was.
    setting
        The setting in words; of a sweep, the best one of these.
    means
        Texts of the tables by official name; empty text for what is not a number.
    objects
        By name of the object, ``camel_1``: texts by ``J-Mean`` and ``F-Mean``.
    by_video
        What each video by itself is ranked by: of masks the mean over its objects of J&F, or of J where F was not
        measured; None for what is not a number.
    ranking
        Of a sweep: means under each setting, the best first.
    shared
        Of controls in a sweep: means under settings where alpha leaves the control out. They end its curves, and are
        never its best.
    alpha_bars
        Of a sweep: clean share of the power of what the network of a feature saw, the same for all videos; None where
        it is not known of all of them, or differs.
    """

    name: str
    controls: tuple[str, ...] = ()
    metric_spec: MetricSpec = MASKS
    setting: str = ""
    means: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    by_video: Mapping[str, float | None] = field(default_factory=dict)
    ranking: Sequence[SettingMeans] = ()
    shared: Sequence[SettingMeans] = ()
    alpha_bars: Mapping[FeatureChoice, float | None] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name, and that it is a control."""
        return f"{self.name} (control: {', '.join(self.controls)})" if self.controls else self.name

    @property
    def score_text(self) -> str:
        """What settings are ranked by (J&F, or J where F was not measured), as the tables have it; empty where none."""
        official = self.metric_spec.official
        return next((text for column in self.metric_spec.order if (text := self.means.get(official[column]))), "")

    @property
    def measure(self) -> str:
        """The name of that."""
        return measure_of([self])

    @property
    def cell(self) -> Cell:
        """The same, as it is shown."""
        return number(self.score_text)

    @property
    def score(self) -> float | None:
        """The same as a number; None where nothing was measured."""
        return as_number(self.score_text)


def from_sweep(name: str, sweep: Sweep, origins: Origins) -> list[Compared]:
    """Divide a sweep by what controls its settings are, results proper first.

    A sweep of a control has no results proper where alpha leaves the control out: these settings are shared.
    """
    groups: dict[tuple[str, ...], list[SettingMeans]] = defaultdict(list)
    for means in sweep.result.ranking:
        groups[origins.controls(sweep.units.get(means.setting, ()))].append(means)
    single = [means for means in groups.get((), []) if None in (means.setting.video, means.setting.image)]
    if len(groups) > 1 and len(single) == len(groups.get((), [])):
        groups.pop((), None)
    alpha_bars = _alpha_bars(sweep, origins)
    return [
        Compared(
            name=name,
            controls=controls,
            metric_spec=sweep.result.metric_spec,
            setting=_words(ranking[0].setting),
            means={
                title: exact_text(ranking[0].measures[column])
                for column, title in sweep.result.metric_spec.official.items()
            },
            objects=_objects(sweep, ranking[0].setting),
            by_video={
                video: next((item.score for item in means if item.setting == ranking[0].setting), None)
                for video, means in sweep.result.by_video.items()
            },
            ranking=tuple(ranking),
            shared=tuple(_shared(single, ranking)) if controls else (),
            alpha_bars=alpha_bars,
        )
        for controls, ranking in sorted(groups.items())
    ]


def from_propagation(name: str, results: Propagation, origins: Origins, metric_spec: MetricSpec) -> list[Compared]:
    """Return a folder's results by a metric_spec, one for each set that was measured; without means if none was."""
    controls = origins.controls(results.units)
    features = " + ".join(f"{weight:g} {feature}" for feature, weight in results.features.items())
    settings = ", ".join(f"{axis_label(key)} {value}" for key, value in results.settings.items() if value is not True)
    words = ", ".join(filter(None, [features, settings]))
    evaluations = [found for found in results.evaluations if found.metric_spec == metric_spec]
    compared = [
        Compared(
            name=name if len(evaluations) == 1 else f"{name}, {found.name}",
            controls=controls,
            metric_spec=metric_spec,
            setting=words,
            means=found.means,
            objects=found.objects,
            by_video=found.by_video,
        )
        for found in evaluations
    ]
    return compared or [Compared(name=name, controls=controls, metric_spec=metric_spec, setting=words)]


def measure_of(compared: Sequence[Compared]) -> str:
    """Return the name of what results are ranked by: the first measure of their metric_spec that any has."""
    shown = [item for item in compared if item.score_text] or list(compared)
    metric_spec = shown[0].metric_spec
    return metric_spec.ranked_by(
        {
            column: next((as_number(text) for item in shown if (text := item.means.get(official))), None)
            for column, official in metric_spec.official.items()
        }
    )


def exact_text(value: float | None) -> str:
    """Return a number as the tables of sweeps have it; nothing for what is none."""
    return "" if value is None or math.isnan(value) else repr(value)


def _shared(single: Sequence[SettingMeans], ranking: Sequence[SettingMeans]) -> list[SettingMeans]:
    """Return, of settings with one feature, those whose feature some settings fuse with another one."""
    fused = {(part, getattr(means.setting, part)) for means in ranking for part in ("video", "image")}
    return [
        means
        for means in single
        if (("video", means.setting.video) if means.setting.image is None else ("image", means.setting.image)) in fused
    ]


def _alpha_bars(sweep: Sweep, origins: Origins) -> dict[FeatureChoice, float | None]:
    units: dict[FeatureChoice, set[UsedUnit]] = defaultdict(set)
    for setting, used in sweep.units.items():
        for choice, _ in setting.parts:
            units[choice].update(unit for unit in used if unit.fits(choice))
    return {choice: _common([origins.alpha_bar(unit) for unit in used]) for choice, used in units.items()}


def _common(alpha_bars: Sequence[float | None]) -> float | None:
    """Return the level that all have, but for the last bits in which devices differ."""
    known = [level for level in alpha_bars if level is not None]
    if not known or len(known) < len(alpha_bars):
        return None
    low, high = min(known), max(known)
    return low if math.isclose(snr_db(low), snr_db(high), rel_tol=0, abs_tol=1e-3) else None


def _objects(sweep: Sweep, setting: Setting) -> dict[str, dict[str, str]]:
    return {
        f"{video}_{number}": {MASKS.official[name]: exact_text(values[name]) for name in ("j", "f")}
        for (video, number), values in sweep.result.objects.get(setting, {}).items()
    }


def _words(setting: Setting) -> str:
    shown = {name: value for name, value in setting.columns.items() if value != "" and value is not True}
    return ", ".join(f"{axis_label(name)} {value}" for name, value in shown.items())
