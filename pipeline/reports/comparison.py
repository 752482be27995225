"""The results that a report compares: those of each folder, with the results of controls apart."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from ...store import FeatureChoice
from ..choices.hints import plural
from ..runs.extracting.noise_level import snr_db
from ..runs.sweeping.axes import axis_label
from ..runs.sweeping.results import SettingMeans
from ..tasks.masks.scores import MASKS
from ..tasks.scoring import MetricSpec
from ..tasks.tables import as_number
from .charts import Series
from .folders import Propagation, Sweep
from .provenance import UnitIndex, UsedUnit


@dataclass(frozen=True, kw_only=True)
class ComparedResult:
    """A result with its own entry in every table and chart."""

    name: str  # name of the folder, with that of the set of videos if the folder has several
    controls: tuple[str, ...] = ()  # controls that the result is; empty for others
    metric_spec: MetricSpec = MASKS  # metric of the scores
    setting: str = ""  # the setting in words; the best one of a sweep
    # text of the tables by the metric's official name; empty text for a missing value
    means: Mapping[str, str] = field(default_factory=dict)
    # text by official name of a metric (``J-Mean`` and ``F-Mean`` of masks) for each object, such as ``camel_1``
    objects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # score of each video. For masks it is the mean over objects of J&F, or of J if F was not computed.
    by_video: Mapping[str, float | None] = field(default_factory=dict)
    ranking: Sequence[SettingMeans] = ()  # means of a sweep under each setting, best first
    # means of a control's sweep under settings whose alpha gives the control no weight. They are the ends of its
    # curves and never its best setting.
    shared: Sequence[SettingMeans] = ()
    # share of the clean sample in the power of the network's input, for each feature of a sweep; None if it is
    # unknown for a video or differs between videos
    alpha_bars: Mapping[FeatureChoice, float | None] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name, with the controls."""
        return f"{self.name} (control: {', '.join(self.controls)})" if self.controls else self.name

    @property
    def score_text(self) -> str:
        """Exact text of the score that ranks settings (J&F, or J if F was not computed); empty if there is none."""
        official = self.metric_spec.official
        return next((text for column in self.metric_spec.order if (text := self.means.get(official[column]))), "")

    @property
    def score(self) -> float | None:
        """The score as a number; None if there is none."""
        return as_number(self.score_text)

    @property
    def measure(self) -> str:
        """Title of the score."""
        return measure_of([self])

    def series(self, values: Sequence[float | None], results: Sequence["ComparedResult"]) -> Series:
        """Return values as a series in this result's colour, which its position among all results gives."""
        return Series(name=self.label, values=values, index=results.index(self), control=bool(self.controls))


def sweep_results(name: str, sweep: Sweep, index: UnitIndex) -> list[ComparedResult]:
    """Split the settings of a sweep by the controls that they are; those that are none come first.

    A sweep of a control whose alpha also leaves the control out has no result of its own for these settings: they are
    shared.
    """
    groups: dict[tuple[str, ...], list[SettingMeans]] = defaultdict(list)
    for means in sweep.ranking:
        groups[index.controls(sweep.units_of.get(means.setting, ()))].append(means)
    single = [means for means in groups.get((), []) if len(means.setting.parts) == 1]
    if len(groups) > 1 and len(single) == len(groups.get((), [])):
        groups.pop((), None)
    alpha_bars = _alpha_bars(sweep, index)
    official = sweep.metric_spec.official
    columns = ("j", "f") if sweep.metric_spec == MASKS else sweep.metric_spec.shown
    return [
        ComparedResult(
            name=name,
            controls=controls,
            metric_spec=sweep.metric_spec,
            setting=_setting_text(ranking[0].setting.columns),
            means={title: exact_text(ranking[0].measures[column]) for column, title in official.items()},
            objects={
                f"{video}_{number}": {official[column]: exact_text(values[column]) for column in columns}
                for (video, number), values in sweep.objects.get(ranking[0].setting, {}).items()
            },
            by_video={
                video: next((item.score for item in means if item.setting == ranking[0].setting), None)
                for video, means in sweep.by_video.items()
            },
            ranking=tuple(ranking),
            shared=tuple(_shared(single, ranking)) if controls else (),
            alpha_bars=alpha_bars,
        )
        for controls, ranking in sorted(groups.items())
    ]


def propagation_results(
    name: str, results: Propagation, index: UnitIndex, metric_spec: MetricSpec
) -> list[ComparedResult]:
    """Return one result for each scored set of a folder, or one without scores if there is none of this metric."""
    features = " + ".join(f"{weight:g} {feature}" for feature, weight in results.features.items())
    plain = ComparedResult(
        name=name,
        controls=index.controls(results.units),
        metric_spec=metric_spec,
        setting=", ".join(filter(None, [features, _setting_text(results.settings)])),
    )
    scored = [found for found in results.evaluations if found.metric_spec == metric_spec]
    return [
        replace(
            plain,
            name=name if len(scored) == 1 else f"{name}, {found.name}",
            means=found.means,
            objects=found.objects,
            by_video=found.by_video,
        )
        for found in scored
    ] or [plain]


def measure_of(results: Sequence[ComparedResult]) -> str:
    """Return the title of the score: that of the metric's first measure that any result has."""
    scored = [item for item in results if item.score_text] or list(results)
    metric_spec = scored[0].metric_spec
    return metric_spec.ranked_by(
        {
            column: next((as_number(text) for item in scored if (text := item.means.get(official))), None)
            for column, official in metric_spec.official.items()
        }
    )


def finding(results: Sequence[ComparedResult]) -> str:
    """Say in one sentence which result is best, by how much, and how sure that is; empty without scores.

    Uncertainties are standard errors over videos: of the score, and of the paired difference to the next result. Only
    results with the same measure are compared.
    """
    measure = measure_of(results) if results else ""
    scored = [item for item in results if item.score is not None and item.measure == measure]
    scored.sort(key=lambda item: -(item.score or 0))
    if not scored:
        return ""
    best, *others = scored
    values = [value for value in best.by_video.values() if value is not None]
    text = f"{best.label} has {best.measure} {best.score:.3f}"
    if len(values) > 1:
        text += f" with a standard error of {_standard_error(values):.3f}"
    if values:
        text += f" over {plural(len(values), 'video')}"
    if len(best.ranking) > 1:
        text += f", at the best of {len(best.ranking)} settings, chosen on these videos"
    if others:
        differences = [
            value - other
            for video, value in best.by_video.items()
            if value is not None and (other := others[0].by_video.get(video)) is not None
        ]
        if len(differences) > 1:
            mean, error_of_mean = fmean(differences), _standard_error(differences)
            clear = "better than" if mean > 2 * error_of_mean else "not clearly better than"
            text += f"; it is {clear} {others[0].label} (difference {mean:.3f} ± {error_of_mean:.3f}, paired by video)"
        else:
            text += f"; the next is {others[0].label} with {others[0].score:.3f}"
    if len(values) == 1:
        text += "; one video tells nothing about others"
    return f"{text}."


def exact_text(value: float | None) -> str:
    """Return a number as the tables of sweeps have it; empty text for a missing value."""
    return "" if value is None or math.isnan(value) else repr(value)


def _standard_error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def _shared(single: Sequence[SettingMeans], ranking: Sequence[SettingMeans]) -> list[SettingMeans]:
    """Return the settings with one feature that some setting of the ranking fuses with another feature."""

    def features(means: SettingMeans) -> set[tuple[str, FeatureChoice]]:
        both = zip(means.setting.names, means.setting.features, strict=True)
        return {(name, choice) for name, choice in both if choice is not None}

    fused = set().union(*map(features, ranking))
    return [means for means in single if features(means) <= fused]


def _alpha_bars(sweep: Sweep, index: UnitIndex) -> dict[FeatureChoice, float | None]:
    """Return the level that all units of a feature share, up to the last bits, in which devices differ."""
    units: dict[FeatureChoice, set[UsedUnit]] = defaultdict(set)
    for setting, used in sweep.units_of.items():
        for choice, _ in setting.parts:
            units[choice].update(unit for unit in used if unit.matches(choice))
    shared: dict[FeatureChoice, float | None] = {}
    for choice, used_by in units.items():
        levels = [index.alpha_bar(unit) for unit in used_by]
        known = [level for level in levels if level is not None]
        same = len(known) == len(levels) > 0 and math.isclose(
            snr_db(min(known)), snr_db(max(known)), rel_tol=0, abs_tol=1e-3
        )
        shared[choice] = min(known) if same else None
    return shared


def _setting_text(columns: Mapping[str, object]) -> str:
    return ", ".join(
        f"{axis_label(key)} {value}"
        for key, value in columns.items()
        if value != "" and (key, value) != ("renormalize", True)
    )
