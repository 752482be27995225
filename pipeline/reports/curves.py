"""Which charts a report has: scores over each parameter that sweeps vary, and bars for the videos."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..runs.sweeping.axes import NUMERIC, Slices, axis_label
from .charts import Series, bar_chart, legend_key, line_chart
from .compared import Compared, exact_text, measure_of
from .views import ChartView, Key, TableView, in_parts, number, row

__all__ = ["MOST_VIDEOS", "TAPS", "legend", "over_parameters", "over_videos", "series_of"]

#: Videos in bar charts, in all and in each: a longer one does not fit a printed page.
MOST_VIDEOS = 60
_VIDEOS_IN_CHART = 15
#: Axes that are no numbers.
TAPS = ("video_tap", "image_tap")


def over_parameters(compared: Sequence[Compared], axes: Sequence[str] = (*NUMERIC, *TAPS)) -> list[ChartView]:
    """Draw the scores over each parameter that any sweep varies.

    A line for each sweep, and each of its controls, of what settings are ranked by; of one alone, its other measures,
    too. Parameters that a chart does not show are where the best setting of its line has them. Results of one
    setting are level lines.
    """
    charts = []
    for axis in axes:
        chart = _over(axis, compared)
        if chart is not None:
            charts.append(chart)
    return charts


def over_videos(compared: Sequence[Compared]) -> list[ChartView]:
    """Draw the score of each video as a bar, in as many charts as it takes; the first `MOST_VIDEOS` videos."""
    shown = [item for item in compared if item.by_video]
    videos = list(dict.fromkeys(video for item in shown for video in item.by_video))
    measure = measure_of(shown) if shown else ""
    charts = []
    parts = in_parts(videos[:MOST_VIDEOS], _VIDEOS_IN_CHART)
    for index, part in enumerate(parts, 1):
        series = [series_of(item, compared.index(item), [item.by_video.get(video) for video in part]) for item in shown]
        title = f"{measure} of each video" + (f", part {index} of {len(parts)}" if len(parts) > 1 else "")
        chart_id = f"videos-{index}"
        rows = [
            row(video, [number(exact_text(line.values[place])) for line in series]) for place, video in enumerate(part)
        ]
        charts.append(
            ChartView(
                title=title,
                picture=bar_chart(
                    chart_id,
                    title=title,
                    label=measure,
                    names=part,
                    series=series,
                    longest=shown[0].metric_spec.perfect,
                ),
                legend=legend(series),
                remark="",
                table=TableView(
                    view_id=f"{chart_id}-numbers",
                    caption=title,
                    columns=("video", *(line.name for line in series)),
                    rows=tuple(rows),
                ),
            )
        )
    return charts


def _over(axis: str, compared: Sequence[Compared]) -> ChartView | None:
    part = axis.partition("_")[0] if axis.endswith(("timestep", "tap")) else None
    lines: list[tuple[Compared, Slices]] = []
    for item in compared:
        # A setting without the feature lies nowhere on the feature's axes.
        every = (*item.ranking, *item.shared)
        ranking = [means for means in every if part is None or getattr(means.setting, part) is not None]
        if ranking:
            lines.append((item, Slices(ranking)))
    if not any(axis in slices.varying for _, slices in lines):
        return None
    x = _places(axis, [slices for _, slices in lines])
    best = lines[0][0].ranking[0]
    measures = best.metric_spec.titles(best.measures)
    title = next(iter(measures.values()))
    constant = [item for item in compared if not item.ranking and item.score is not None]
    levels = [series_of(item, compared.index(item), [item.score]) for item in constant]
    if len(lines) > 1 or levels:
        measures = dict([next(iter(measures.items()))])
    series = []
    for item, slices in lines:
        values = {measure: [_measure(slices, axis, place, measure) for place in x] for measure in measures}
        series += (
            [series_of(item, compared.index(item), values[measure]) for measure in measures]
            if len(measures) == 1
            else [
                Series(name=words, values=values[measure], place=place)
                for place, (measure, words) in enumerate(measures.items())
            ]
        )
    label = axis_label(axis)
    heading = f"{'Scores' if len(measures) > 1 else title} over {label}"
    others = [(item.label, slices.others(axis)) for item, slices in lines if slices.others(axis)]
    remark = "; ".join(f"{name}: {where}" if len(lines) > 1 else where for name, where in others)
    chart_id = f"over-{axis.replace('_', '-')}"
    same = [number(item.score_text) for item in constant]
    table = TableView(
        view_id=f"{chart_id}-numbers",
        caption=heading,
        columns=(label, *(line.name for line in (*series, *levels))),
        rows=tuple(
            row(_text(value), [*(number(exact_text(line.values[place])) for line in series), *same])
            for place, value in enumerate(x)
        ),
    )
    if axis in TAPS:
        names = [_text(value) for value in x]
        series += [replace(level, values=[*level.values] * len(x)) for level in levels]
        picture = bar_chart(
            chart_id, title=heading, label=title, names=names, series=series, longest=best.metric_spec.perfect
        )
        keys = legend(series)
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
        keys = legend(series) + tuple(
            Key(picture=legend_key(level, level=True), name=f"{level.name}, one setting") for level in levels
        )
    return ChartView(
        title=heading,
        picture=picture,
        legend=keys,
        remark=f"Elsewhere at the best setting: {remark}." if remark else "",
        table=table,
    )


def _places(axis: str, slices: Sequence[Slices]) -> list[Any]:
    """Return the values of an axis that any of the lines has, rising."""
    found = {value for item in slices for value in item.varying.get(axis, [item.best_value(axis)])}
    return sorted(value for value in found if value is not None)


def _measure(slices: Slices, axis: str, value: Any, measure: str) -> float | None:
    means = slices.at(**{axis: value})
    return None if means is None else means.measures[measure]


def legend(series: Sequence[Series]) -> tuple[Key, ...]:
    """Return the entries of lines, or of bars."""
    return tuple(Key(picture=legend_key(line), name=line.name) for line in series)


def series_of(item: Compared, place: int, values: Sequence[float | None]) -> Series:
    """Return values of results as they are drawn in all charts; `place` is that of the results among all."""
    return Series(name=item.label, values=values, place=place, control=bool(item.controls))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
