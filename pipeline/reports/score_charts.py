"""Which charts a report has: scores over each swept parameter and over noise, and heat maps of two parameters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from ...store import FeatureChoice
from ..runs.extracting.noise_level import snr_db
from ..runs.sweeping.axes import NUMERIC, Slices, axis_label, value_text
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.space import PARAMETERS, setting_columns
from .charts import Series, legend_key, line_chart
from .comparison import ComparedResult, exact_text
from .tables import Number, Row, TableView, row

_SNR = "signal-to-noise ratio, dB"
_UNKNOWN_SNR = (
    "Extraction records it, but earlier versions did not, imported features have none, and videos that were extracted "
    "with different weights have no common one. To get it, extract one of the videos again with the same weights and "
    "timesteps into the results' cache (`ted extract ... --videos NAME --overwrite`): the other videos share it. If "
    "the cache has moved, name it with --cache"
)


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """The table of a chart's numbers, with a picture and the legend's (sample, name) pairs, if lines can show them."""

    table: TableView
    picture: Markup | None = None
    legend: tuple[tuple[Markup, str], ...] = ()
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Scores of a result along one axis, with all other parameters at its best setting."""

    result: ComparedResult
    name: str  # name in the legend
    points: Mapping[Any, SettingMeans]  # means by x
    elsewhere: str  # where the best setting lies on the other axes, in words


def score_charts(results: Sequence[ComparedResult], notes: list[str]) -> list[ChartView]:
    """Draw scores over each parameter that a sweep varies, over noise, and over its two most decisive parameters.

    A chart has a line for each sweep and each of its controls. If a sweep is alone, all its measures are drawn, else
    the one that ranks settings. Parameters that a chart does not show are at the best setting of each line. Results of
    one setting are horizontal lines. Axes whose values are no numbers have a table with bars. `notes` gets the lines
    that are left out, the reason, and what helps.
    """
    columns = setting_columns(means.setting for item in results for means in item.ranking)
    others = ("video_tap", "image_tap", *(axis for axis in columns if axis not in PARAMETERS))
    # Timesteps are the last of the numeric axes, so the noise levels that they mean come next.
    charts = [
        *(_over_parameter(axis, results) for axis in NUMERIC),
        _over_noise(results, notes),
        *(_over_parameter(axis, results) for axis in others),
        *map(_heatmap, results),
    ]
    return [chart for chart in charts if chart is not None]


def _over_parameter(axis: str, results: Sequence[ComparedResult]) -> ChartView | None:
    """Draw scores over a parameter; None if no sweep varies it."""
    part = axis.partition("_")[0] if axis.endswith(("_tap", "_timestep")) else None
    slices_of: list[tuple[ComparedResult, Slices]] = []
    for item in results:
        # A setting without the feature has no value on the feature's axes, nor another kernel on a parameter's.
        ranking = [
            means
            for means in (*item.ranking, *item.shared)
            if (means.setting.feature(part) if part else means.setting.value(axis)) is not None
        ]
        if ranking:
            slices_of.append((item, Slices(ranking)))
    if not any(axis in slices.varying for _, slices in slices_of):
        return None
    lines = []
    for item, slices in slices_of:
        values = slices.varying.get(axis, [slices.best_value(axis)])
        points = {value: means for value in values if (means := slices.at(**{axis: value})) is not None}
        lines.append(_Line(result=item, name=item.label, points=points, elsewhere=slices.others(axis)))
    return _chart(axis, axis_label(axis), lines, results)


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
    lines, drawn, levels, remarks = [], [], [], ["More noise is at the left."]
    for line in found:
        # By rising level; pure noise and a clean sample have an infinite one, which cannot be drawn.
        by_level = sorted(((_snr(line, choice) or 0.0, choice) for choice in line.points), key=lambda item: item[0])
        finite = {level: line.points[choice] for level, choice in by_level if math.isfinite(level)}
        if unknown[line.name] or not finite:
            continue
        lines.append(line)
        drawn.append(replace(line, points=finite))
        levels.append(by_level)
        remarks += [
            f"{choice} is {'noise alone' if level < 0 else 'without noise'}, which has no place on this axis; it is in "
            "the table."
            for level, choice in by_level
            if math.isinf(level)
        ]
    if not lines:
        return None
    measures = _measures(lines, results)
    rows = [
        row(
            line.name,
            Number(choice.timestep),
            Number(exact_text(line.result.alpha_bars[choice])),
            Number(repr(level)),
            *(Number(exact_text(line.points[choice].measures[measure])) for measure in measures),
            choice,
            control=bool(line.result.controls),
        )
        for line, by_level in zip(lines, levels, strict=True)
        for level, choice in by_level
    ]
    columns = ("line", "timestep", "alpha_bar", _SNR, *measures.values(), "feature")
    return _chart("noise", _SNR, drawn, results, remarks=remarks, of_lines=(columns, tuple(rows)))


def _noise_lines(item: ComparedResult, part: Literal["video", "image"]) -> Iterator[_Line]:
    """Yield a line, with features as x, for each backbone of one part that has several timesteps."""
    by_backbone: dict[str, list[SettingMeans]] = {}
    for means in (*item.ranking, *item.shared):
        choice = means.setting.feature(part)
        if choice is not None:
            backbone = choice.backbone + (f"@{choice.digest}" if choice.digest else "")
            by_backbone.setdefault(backbone, []).append(means)
    for backbone, ranking in by_backbone.items():
        slices, axis = Slices(ranking), f"{part}_timestep"
        found = [slices.at(**{axis: timestep}) for timestep in slices.varying.get(axis, ())]
        points = {choice: means for means in found if means and (choice := means.setting.feature(part)) is not None}
        if len(points) > 1:
            name = f"{item.label}, {part} {backbone}"
            yield _Line(result=item, name=name, points=points, elsewhere=slices.others(axis))


def _snr(line: _Line, choice: FeatureChoice) -> float | None:
    level = line.result.alpha_bars.get(choice)
    return None if level is None else snr_db(level)


def _heatmap(item: ComparedResult) -> ChartView | None:
    """Shade the scores over the two parameters that change them most; None for fewer than two."""
    slices = Slices(item.ranking) if item.ranking else None
    if slices is None or len(slices.varying) < 2:
        return None
    reach = {}
    for axis, values in slices.varying.items():
        scores = [means.score for value in values if (means := slices.at(**{axis: value})) is not None]
        reach[axis] = max(scores, default=0.0) - min(scores, default=0.0)
    pair = sorted(reach, key=lambda axis: -reach[axis])[:2]
    y, x = sorted(pair, key=lambda axis: -len(slices.varying[axis]))

    def score(row_value: object, column_value: object) -> Number:
        means = slices.at(**{y: row_value, x: column_value})
        return Number("" if means is None else exact_text(means.score))

    table = TableView(
        caption=f"{item.label}: {item.measure} over {axis_label(y)} and {axis_label(x)}",
        columns=(axis_label(y), *(f"{axis_label(x)} {value_text(value)}" for value in slices.varying[x])),
        rows=tuple(
            row(value_text(value), *(score(value, column) for column in slices.varying[x]))
            for value in slices.varying[y]
        ),
        shaded=True,
    )
    rest = slices.others(x, y)
    return ChartView(table=table, remark=f"Elsewhere at the best setting: {rest}." if rest else "")


def _chart(
    axis: str,
    label: str,
    lines: Sequence[_Line],
    results: Sequence[ComparedResult],
    *,
    remarks: Sequence[str] = (),
    of_lines: tuple[tuple[str, ...], tuple[Row, ...]] | None = None,
) -> ChartView:
    """Draw lines over an axis; `of_lines` are the columns and rows of a table to show instead of one row per x."""
    constant, measures = _constant(lines, results), _measures(lines, results)
    x = sorted({at for line in lines for at in line.points})
    # Colours are those of the results, unless a result has several lines.
    one_each = len({id(line.result) for line in lines}) == len(lines)
    series = [
        Series(
            name=line.name if len(measures) == 1 else title,
            values=[line.points[at].measures[measure] if at in line.points else None for at in x],
            index=column if len(measures) > 1 else results.index(line.result) if one_each else number,
            control=bool(line.result.controls),
        )
        for number, line in enumerate(lines)
        for column, (measure, title) in enumerate(measures.items())
    ]
    levels = [item.series([item.score], results) for item in constant]
    title = next(iter(measures.values()))
    where = label if of_lines is None else "the signal-to-noise ratio"
    heading = f"{'Scores' if len(measures) > 1 else title} over {where}"
    texts = [f"{line.name}: {line.elsewhere}" if len(lines) > 1 else line.elsewhere for line in lines if line.elsewhere]
    remarks = [*remarks[:1], *([f"Elsewhere at the best setting: {'; '.join(texts)}."] if texts else []), *remarks[1:]]
    numeric = not any(isinstance(value, str | bool) for value in x)
    columns, rows = of_lines or (
        (label, *(line.name for line in series), *(item.label for item in constant)),
        tuple(
            row(
                value_text(at),
                *(Number(exact_text(line.values[index])) for line in series),
                *(Number(item.score_text) for item in constant),
            )
            for index, at in enumerate(x)
        ),
    )
    bars = () if numeric else (*series, *levels)
    table = TableView(
        caption=heading, columns=columns, rows=rows, bars=bars, longest=lines[0].result.metric_spec.perfect
    )
    if not numeric:
        return ChartView(table=table, remark=" ".join(remarks))
    picture = line_chart(
        f"over-{axis.replace('_', '-').replace('.', '-')}",
        title=heading,
        x_label=label,
        y_label=title if len(measures) == 1 else "score",
        x=x,
        series=series,
        levels=levels,
        logarithmic=axis == "temperature" and max(x) > 5 * min(x),
        scattered=of_lines is not None,
    )
    keys = [(legend_key(line), line.name) for line in series]
    keys += [(legend_key(level, level=True), f"{level.name}, one setting") for level in levels]
    return ChartView(table=table, picture=picture, legend=tuple(keys), remark=" ".join(dict.fromkeys(remarks)))


def _measures(lines: Sequence[_Line], results: Sequence[ComparedResult]) -> dict[str, str]:
    """Return the titles of the measures to draw, by column: all of them if there is only one line."""
    best = next(iter(lines[0].points.values()))
    titles = best.metric_spec.titles(best.measures)
    return titles if len(lines) == 1 and not _constant(lines, results) else dict([next(iter(titles.items()))])


def _constant(lines: Sequence[_Line], results: Sequence[ComparedResult]) -> list[ComparedResult]:
    """Return the results of one setting with the measure of the lines; they are drawn as horizontal lines."""
    measure = lines[0].result.measure
    return [item for item in results if not item.ranking and item.score is not None and item.measure == measure]
