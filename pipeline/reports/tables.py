"""The tables of a report."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..runs.sweeping.axes import axis_label
from ..runs.sweeping.space import Setting, setting_columns
from ..tasks.tables import Table, as_number
from .charts import Series
from .comparison import ComparedResult, exact_text, measure_of
from .folders import Propagation, Sweep
from .provenance import FeatureFacts

#: Largest numbers of rows; a note says what is left out.
_MOST_SETTINGS, _MOST_ROWS = 100, 600
#: Number of shades of a heat map.
_SHADES = 9


class Number(str):
    """A number as its exact text, which the page shows rounded; empty if there is no value."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A table row; its first cell is its name."""

    cells: tuple[str, ...]
    control: bool = False


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A table as the template shows it. A column is numeric if its cell in the first row is a `Number`."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    bars: tuple[Series, ...] = ()  # series of each column after the first, if its numbers have bars
    longest: float = 1.0  # number whose bar fills the cell
    shaded: bool = False  # whether numbers have a shade, the highest one a frame: a heat map

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers."""
        first = self.rows[0].cells if self.rows else ("",) * len(self.columns)
        return tuple(isinstance(cell, Number) for cell in first)

    @cached_property
    def _decimals(self) -> list[int]:
        """Decimals of each column: those of its longest number, at most three."""
        columns = zip(*(row.cells for row in self.rows), strict=True)
        return [
            max(
                3 if "e" in cell else min(3, len(cell.partition(".")[2])) if isinstance(cell, Number) else 0
                for cell in column
            )
            for column in columns
        ]

    @cached_property
    def _range(self) -> tuple[float, float]:
        values = [value for row in self.rows for cell in row.cells[1:] if (value := as_number(cell)) is not None]
        return min(values, default=0.0), max(values, default=0.0)

    def shown(self, column: int, cell: str) -> str:
        """Return a number as the page shows it: with as many decimals as all others of its column."""
        decimals = max(self._decimals) if self.shaded else self._decimals[column]
        return cell if not decimals or as_number(cell) is None else f"{float(cell):.{decimals}f}"

    def shade(self, cell: str) -> str:
        """Return the CSS classes of a number in a heat map."""
        (low, high), value = self._range, as_number(cell)
        if not self.shaded or value is None:
            return ""
        share = (value - low) / (high - low) if high > low else 0.0
        return f" h{round(share * (_SHADES - 1))}" + (" best" if value == high else "")

    def length(self, cell: str) -> str:
        """Return the length of a number's bar, in percent."""
        return f"{100 * max(0.0, min(1.0, float(cell) / self.longest)):.1f}"


def row(*cells: object, control: bool = False) -> Row:
    """Return a row; cells other than `Number` are text."""
    return Row(cells=tuple(cell if isinstance(cell, Number) else str(cell) for cell in cells), control=control)


def means_table(results: Sequence[ComparedResult]) -> TableView:
    """Return the means of all results, by the official names of the metrics."""
    known = dict.fromkeys(name for item in results for name in (*item.metric_spec.official.values(), *item.means))
    columns = [name for name in known if any(item.means.get(name) for item in results)]
    rows = [
        row(
            item.name,
            *(Number(item.means.get(name, "")) for name in columns),
            ", ".join(item.controls),
            control=bool(item.controls),
        )
        for item in results
    ]
    what = "objects" if all(item.metric_spec.of_objects for item in results) else "videos"
    return TableView(caption=f"Means over all {what}", columns=("results", *columns, "control"), rows=tuple(rows))


def videos_table(results: Sequence[ComparedResult], notes: list[str]) -> TableView | None:
    """Return the score of each video with a bar, results side by side; None if no result has videos."""
    shown = [item for item in results if item.by_video and item.measure == measure_of(results)]
    videos = _cut("videos", dict.fromkeys(video for item in shown for video in item.by_video), notes)
    if not videos:
        return None
    bars = tuple(item.series([item.by_video.get(video) for video in videos], results) for item in shown)
    return TableView(
        caption=f"{shown[0].measure} of each video",
        columns=("video", *(line.name for line in bars)),
        rows=tuple(
            row(video, *(Number(exact_text(line.values[index])) for line in bars)) for index, video in enumerate(videos)
        ),
        bars=bars,
        longest=shown[0].metric_spec.perfect,
    )


def objects_table(results: Sequence[ComparedResult], notes: list[str]) -> TableView | None:
    """Return the scores of each object, results side by side; None if no result has objects."""
    with_objects = [item for item in results if item.objects]
    names = _cut("objects", dict.fromkeys(name for item in with_objects for name in item.objects), notes)
    if not names:
        return None
    metrics = list(dict.fromkeys(metric for item in with_objects for row in item.objects.values() for metric in row))
    metrics = [name for name in ("J-Mean", "F-Mean") if name in metrics] or metrics
    columns = [
        (item, metric)
        for item in with_objects
        for metric in metrics
        if any(values.get(metric) for values in item.objects.values())
    ]
    return TableView(
        caption=f"{' and '.join(metric.removesuffix('-Mean') for metric in metrics)} of each object",
        columns=("object", *(f"{item.label} {column}" for item, column in columns)),
        rows=tuple(
            row(name, *(Number(item.objects.get(name, {}).get(column, "")) for item, column in columns))
            for name in names
        ),
    )


def settings_table(name: str, results: Sequence[ComparedResult], notes: list[str]) -> TableView | None:
    """Return the settings of a sweep with its controls, best first; None if there are none."""
    controls_of: dict[Setting, tuple[str, ...]] = {means.setting: () for item in results for means in item.shared}
    controls_of |= {means.setting: item.controls for item in results for means in item.ranking}
    every = {means.setting: means for item in results for means in (*item.ranking, *item.shared)}
    ranked = sorted(every.values(), key=lambda means: means.rank, reverse=True)
    if not ranked:
        return None
    parameters = setting_columns(means.setting for means in ranked)
    values = {parameter: [means.setting.value(parameter) for means in ranked] for parameter in parameters}
    varying = [parameter for parameter in parameters if len(set(values[parameter])) > 1]
    same = [f"{axis_label(key)} {found[0]}" for key, found in values.items() if key not in varying and found[0] != ""]
    official = results[0].metric_spec.official
    measures = [measure for measure in official if any(exact_text(means.measures[measure]) for means in ranked)]
    best = {item.ranking[0].setting for item in results}
    listed = [(rank, means) for rank, means in enumerate(ranked, 1) if rank <= _MOST_SETTINGS or means.setting in best]
    if len(listed) < len(ranked):
        notes.append(
            f"{name}: {len(listed)} of {len(ranked)} settings are listed: the best, and the best of each control"
        )
    rows = [
        row(
            rank,
            *("–" if (value := means.setting.value(key)) in ("", None) else value for key in varying),
            *(Number(exact_text(means.measures[measure])) for measure in measures),
            ", ".join(controls_of[means.setting]),
            control=bool(controls_of[means.setting]),
        )
        for rank, means in listed
    ]
    return TableView(
        caption=f"Settings of {name}" + (f", all with {', '.join(same)}" if same else ""),
        columns=("rank", *map(axis_label, varying), *(official[measure] for measure in measures), "control"),
        rows=tuple(rows),
    )


def other_tables(name: str, tables: Iterable[Table], notes: list[str]) -> list[TableView]:
    """Return tables that a folder of results holds, unchanged."""
    views = []
    for table in tables:
        rows = [
            row(first, *(Number(text) if not text or as_number(text) is not None else text for text in others))
            for first, *others in _cut(f"rows of {name}: {table.name}", table.rows, notes)
        ]
        views.append(TableView(caption=f"{name}: {table.name}", columns=table.columns, rows=tuple(rows)))
    return views


def options_table(name: str, results: Sweep | Propagation) -> TableView | None:
    """Return the recorded options of a folder, or the settings in its records; None if it has neither."""
    options: Mapping[str, Any] = results.options
    if not options and isinstance(results, Propagation):
        features = [f"{feature}={weight!r}" for feature, weight in results.features.items()]
        options = ({"feature": features} if features else {}) | dict(results.settings)
    rows = [
        row(key, ", ".join(without_folders(str(text)) for text in (value if isinstance(value, list) else [value])))
        for key, value in options.items()
    ]
    caption = f"{name}: recorded options"
    return TableView(caption=caption, columns=("option", "value"), rows=tuple(rows)) if rows else None


def features_tables(name: str, facts: Iterable[FeatureFacts]) -> list[TableView]:
    """Return one table per feature: what determined it, which device computed it, and what that took."""
    return [
        TableView(
            caption=f"{name}: feature {item.feature}"
            + (f" (control: {', '.join(item.controls)})" if item.controls else ""),
            columns=("field", "value"),
            rows=tuple(row(key.replace("_", " "), without_folders(value)) for key, value in item.facts.items()),
        )
        for item in facts
    ]


def timing_table(name: str, timing: Mapping[str, float]) -> TableView | None:
    """Return the seconds that the parts of a sweep took; None if it recorded none."""
    return (
        TableView(
            caption=f"{name}: seconds of the sweep's last run; each part sums over all threads or workers",
            columns=("part", "seconds"),
            rows=tuple(row(part, Number(repr(value))) for part, value in timing.items()),
        )
        if timing
        else None
    )


def without_folders(text: str) -> str:
    """Shorten absolute paths, which tell more about a machine than about a result, to their last part."""
    if Path(text).is_absolute():
        return Path(text).name
    return re.sub(r"(?<![^\s=,'\"(])/(?:[^/\s=,]+/)+([^/\s=,]+)", r"\1", text)


def _cut(what: str, items: Iterable[Any], notes: list[str]) -> list[Any]:
    every = list(items)
    if len(every) > _MOST_ROWS:
        notes.append(f"tables show the first {_MOST_ROWS} of {len(every)} {what}")
    return every[:_MOST_ROWS]
