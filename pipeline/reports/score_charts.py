"""Which charts a report has: scores over each swept parameter and over noise, and bars for the videos."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from ...store import FeatureChoice
from ..runs.extracting.noise_level import snr_db
from ..runs.sweeping.axes import NUMERIC, Slices, axis_label
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.space import PARAMETERS, setting_columns
from .charts import Series, bar_chart, legend_key, line_chart
from .comparison import ComparedResult, exact_text, measure_of
from .tables import Number, Row, TableView, row

__all__ = ["MOST_VIDEOS", "ChartView", "Key", "score_charts", "video_charts"]

#: Largest number of videos in all bar charts, and in each: a longer chart does not fit on a printed page.
MOST_VIDEOS = 60
_VIDEOS_PER_CHART = 15

_TAPS = ("video_tap", "image_tap")
_SNR = "signal-to-noise ratio, dB"
_UNKNOWN_SNR = (
    "Extraction records it, but earlier versions did not, imported features have none, and videos that were extracted "
    "with different weights have no common one. To get it, extract one of the videos again with the same weights and "
    "timesteps into the results' cache (`ted extract ... --videos NAME --overwrite`): the other videos share it. If "
    "the cache has moved, name it with --cache"
)


@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a chart's legend."""

    picture: Markup
    name: str


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart with its legend, a remark, and the table of its numbers."""

    title: str
    picture: Markup
    legend: tuple[Key, ...]
    remark: str = ""
    table: TableView


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Scores of a result along one axis, with all other parameters at its best setting.

    Attributes
    ----------
    result
        The result.
    name
        Name in the legend.
    points
        Means by x.
    elsewhere
        Where the best setting lies on the other axes, in words.
    """

    result: ComparedResult
    name: str
    points: Mapping[Any, SettingMeans]
    elsewhere: str


def score_charts(results: Sequence[ComparedResult], notes: list[str]) -> list[ChartView]:
    """Draw scores over each parameter that a sweep varies, and over the signal-to-noise ratio.

    A chart has a line for each sweep and each of its controls. If a sweep is alone, all its measures are drawn, else
    the one that ranks settings. Parameters that a chart does not show are at the best setting of each line. Results of
    one setting are horizontal lines.

    Parameters
    ----------
    results
        Results that are compared.
    notes
        Gets the lines that are left out, the reason, and what helps.
    """
    # Timesteps are the last of the numeric axes, so the noise levels that they mean come next.
    found = [*(_over_parameter(axis, results) for axis in NUMERIC), _over_noise(results, notes)]
    columns = setting_columns(means.setting for item in results for means in item.ranking)
    others = (*_TAPS, *(axis for axis in columns if axis not in PARAMETERS))
    return [chart for chart in (*found, *(_over_parameter(axis, results) for axis in others)) if chart is not None]


def video_charts(results: Sequence[ComparedResult]) -> list[ChartView]:
    """Draw the score of each of the first `MOST_VIDEOS` videos as a bar, in as many charts as needed."""
    shown = [item for item in results if item.by_video and item.measure == measure_of(results)]
    videos = list(dict.fromkeys(video for item in shown for video in item.by_video))[:MOST_VIDEOS]
    parts = [videos[start : start + _VIDEOS_PER_CHART] for start in range(0, len(videos), _VIDEOS_PER_CHART)]
    charts = []
    for number, part in enumerate(parts, 1):
        measure = shown[0].measure
        series = [_series(item, results, [item.by_video.get(video) for video in part]) for item in shown]
        title = f"{measure} of each video" + (f", part {number} of {len(parts)}" if len(parts) > 1 else "")
        charts.append(
            ChartView(
                title=title,
                picture=bar_chart(
                    f"videos-{number}",
                    title=title,
                    label=measure,
                    names=part,
                    series=series,
                    longest=shown[0].metric_spec.perfect,
                ),
                legend=_legend(series),
                table=_table_of(title, "video", part, series),
            )
        )
    return charts


def _over_parameter(axis: str, results: Sequence[ComparedResult]) -> ChartView | None:
    """Draw scores over a parameter; None if no sweep varies it."""
    part = axis.partition("_")[0] if axis in (*_TAPS, "video_timestep", "image_timestep") else None
    slices_of: list[tuple[ComparedResult, Slices]] = []
    for item in results:
        # A setting without the feature has no value on the feature's axes, nor another kernel on a parameter's.
        ranking = [
            means
            for means in (*item.ranking, *item.shared)
            if (getattr(means.setting, part) if part else means.setting.value(axis)) is not None
        ]
        if ranking:
            slices_of.append((item, Slices(ranking)))
    if not any(axis in slices.varying for _, slices in slices_of):
        return None
    values = {value for _, found in slices_of for value in found.varying.get(axis, [found.best_value(axis)])}
    x = sorted(value for value in values if value is not None)
    lines = [
        _Line(
            result=item,
            name=item.label,
            points={value: means for value in x if (means := slices.at(**{axis: value})) is not None},
            elsewhere=slices.others(axis),
        )
        for item, slices in slices_of
    ]
    constant = _constant(lines, results)
    measures, levels = _measures(lines, constant), [_series(item, results, [item.score]) for item in constant]
    series = _line_series(lines, results, measures, x)
    label, title = axis_label(axis), next(iter(measures.values()))
    heading = f"{'Scores' if len(measures) > 1 else title} over {label}"
    chart_id = f"over-{axis.replace('_', '-').replace('.', '-')}"
    table = _table_of(heading, label, x, series, constant)
    if any(isinstance(value, str | bool) for value in x):
        series += [replace(level, values=[*level.values] * len(x)) for level in levels]
        picture = bar_chart(
            chart_id,
            title=heading,
            label=title,
            names=[str(value) for value in x],
            series=series,
            longest=lines[0].result.metric_spec.perfect,
        )
        levels = []
    else:
        picture = line_chart(
            chart_id,
            title=heading,
            x_label=label,
            y_label=title if len(measures) == 1 else "score",
            x=x,
            series=series,
            levels=levels,
            logarithmic=axis == "temperature" and max(x) > 5 * min(x),
        )
    return ChartView(
        title=heading, picture=picture, legend=_legend(series, levels), remark=_elsewhere(lines), table=table
    )


def _over_noise(results: Sequence[ComparedResult], notes: list[str]) -> ChartView | None:
    """Draw scores over the signal-to-noise ratio in dB, with a line for each backbone of each result and part.

    The axis is the same for all noise schedules. Lines with an unknown level are left out and noted.
    """
    found = [line for item in results for part in ("video", "image") for line in _noise_lines(item, part)]
    unknown = {
        line.name: ", ".join(dict.fromkeys(str(choice) for choice in line.points if _snr(line, choice) is None))
        for line in found
    }
    named = "; ".join(f"{name} ({features})" for name, features in unknown.items() if features)
    if named:
        notes.append(f"left out of curves over the signal-to-noise ratio, which is not known: {named}. {_UNKNOWN_SNR}")
    # Rows of the table by rising level; pure noise and a clean sample have an infinite one, which cannot be drawn.
    levels_of = {
        line.name: sorted(((_snr(line, choice) or 0.0, choice) for choice in line.points), key=lambda item: item[0])
        for line in found
        if not unknown[line.name]
    }
    lines = [line for line in found if any(math.isfinite(level) for level, _ in levels_of.get(line.name, ()))]
    if not lines:
        return None
    drawn = [
        replace(
            line, points={level: line.points[choice] for level, choice in levels_of[line.name] if math.isfinite(level)}
        )
        for line in lines
    ]
    x = sorted({level for line in drawn for level in line.points})
    constant = _constant(lines, results)
    measures, levels = _measures(lines, constant), [_series(item, results, [item.score]) for item in constant]
    series = _line_series(drawn, results, measures, x)
    title = next(iter(measures.values()))
    heading = f"{'Scores' if len(measures) > 1 else title} over the signal-to-noise ratio"
    rows, remarks = [], ["More noise is at the left.", _elsewhere(lines)]
    for line in lines:
        for level, choice in levels_of[line.name]:
            rows.append(
                row(
                    line.name,
                    Number(choice.timestep),
                    Number(exact_text(line.result.alpha_bars[choice])),
                    Number(repr(level)),
                    *(Number(exact_text(line.points[choice].measures[measure])) for measure in measures),
                    choice,
                    control=bool(line.result.controls),
                )
            )
            if math.isinf(level):
                what = "noise alone" if level < 0 else "without noise"
                remarks.append(f"{choice} is {what}, which has no place on this axis; it is in the table.")
    return ChartView(
        title=heading,
        picture=line_chart(
            "over-noise",
            title=heading,
            x_label=_SNR,
            y_label=title if len(measures) == 1 else "score",
            x=x,
            series=series,
            levels=levels,
            scattered=True,
        ),
        legend=_legend(series, levels),
        remark=" ".join(dict.fromkeys(filter(None, remarks))),
        table=TableView(
            caption=heading,
            columns=("line", "timestep", "alpha_bar", _SNR, *measures.values(), "feature"),
            rows=tuple(rows),
        ),
    )


def _noise_lines(item: ComparedResult, part: Literal["video", "image"]) -> Iterator[_Line]:
    """Yield a line, with features as x, for each backbone of one part that has several timesteps."""
    by_backbone: dict[str, list[SettingMeans]] = {}
    for means in (*item.ranking, *item.shared):
        choice: FeatureChoice | None = getattr(means.setting, part)
        if choice is not None:
            backbone = choice.backbone + (f"@{choice.digest}" if choice.digest else "")
            by_backbone.setdefault(backbone, []).append(means)
    for backbone, ranking in by_backbone.items():
        slices, axis = Slices(ranking), f"{part}_timestep"
        found = [slices.at(**{axis: timestep}) for timestep in slices.varying.get(axis, ())]
        points = {getattr(means.setting, part): means for means in found if means is not None}
        if len(points) > 1:
            name = f"{item.label}, {part} {backbone}"
            yield _Line(result=item, name=name, points=points, elsewhere=slices.others(axis))


def _snr(line: _Line, choice: FeatureChoice) -> float | None:
    level = line.result.alpha_bars.get(choice)
    return None if level is None else snr_db(level)


def _measures(lines: Sequence[_Line], constant: Sequence[ComparedResult]) -> dict[str, str]:
    """Return the titles of the measures to draw, by column: all of them if there is only one line."""
    best = next(iter(lines[0].points.values()))
    titles = best.metric_spec.titles(best.measures)
    return titles if len(lines) == 1 and not constant else dict([next(iter(titles.items()))])


def _constant(lines: Sequence[_Line], results: Sequence[ComparedResult]) -> list[ComparedResult]:
    """Return the results of one setting with the measure of the lines; they are drawn as horizontal lines."""
    measure = lines[0].result.measure
    return [item for item in results if not item.ranking and item.score is not None and item.measure == measure]


def _line_series(
    lines: Sequence[_Line], results: Sequence[ComparedResult], measures: Mapping[str, str], x: Sequence[Any]
) -> list[Series]:
    """Return the series of lines, at all x. Colours are those of the results, unless a result has several lines."""
    one_each = len({id(line.result) for line in lines}) == len(lines)
    return [
        Series(
            name=line.name if len(measures) == 1 else title,
            values=[line.points[at].measures[measure] if at in line.points else None for at in x],
            index=column if len(measures) > 1 else results.index(line.result) if one_each else number,
            control=bool(line.result.controls),
        )
        for number, line in enumerate(lines)
        for column, (measure, title) in enumerate(measures.items())
    ]


def _series(item: ComparedResult, results: Sequence[ComparedResult], values: Sequence[float | None]) -> Series:
    return Series(name=item.label, values=values, index=results.index(item), control=bool(item.controls))


def _legend(series: Sequence[Series], levels: Sequence[Series] = ()) -> tuple[Key, ...]:
    keys = [Key(picture=legend_key(line), name=line.name) for line in series]
    keys += [Key(picture=legend_key(level, level=True), name=f"{level.name}, one setting") for level in levels]
    return tuple(keys)


def _elsewhere(lines: Sequence[_Line]) -> str:
    texts = [f"{line.name}: {line.elsewhere}" if len(lines) > 1 else line.elsewhere for line in lines if line.elsewhere]
    return f"Elsewhere at the best setting: {'; '.join(texts)}." if texts else ""


def _table_of(
    caption: str, label: str, x: Sequence[Any], series: Sequence[Series], constant: Sequence[ComparedResult] = ()
) -> TableView:
    """Return the numbers of a chart, one row per x."""

    def numbers(index: int) -> Row:
        name = f"{x[index]:g}" if isinstance(x[index], float) else x[index]
        values = [exact_text(line.values[index]) for line in series] + [item.score_text for item in constant]
        return row(name, *map(Number, values))

    names = (label, *(line.name for line in series), *(item.label for item in constant))
    return TableView(caption=caption, columns=names, rows=tuple(map(numbers, range(len(x)))))
