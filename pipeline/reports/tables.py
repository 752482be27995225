"""The tables of a report."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..runs.sweeping.axes import axis_label
from ..runs.sweeping.space import Setting, setting_columns
from ..tasks.tables import Table
from .comparison import ComparedResult, exact_text
from .folders import Propagation, Sweep
from .provenance import FeatureFacts

__all__ = [
    "Number",
    "Row",
    "TableView",
    "cost_tables",
    "features_tables",
    "means_table",
    "objects_table",
    "options_table",
    "other_tables",
    "row",
    "settings_table",
    "without_folders",
]

#: Largest numbers of rows; a note says what is left out.
_MOST_SETTINGS, _MOST_ROWS = 100, 600


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

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers."""
        return (
            tuple(isinstance(cell, Number) for cell in self.rows[0].cells)
            if self.rows
            else (False,) * len(self.columns)
        )

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

    def shown(self, column: int, cell: str) -> str:
        """Return a number as the page shows it: with as many decimals as all others of its column."""
        try:
            return f"{float(cell):.{self._decimals[column]}f}" if self._decimals[column] else cell
        except ValueError:
            return cell


def row(*cells: object, control: bool = False) -> Row:
    """Return a row; cells other than `Number` are text."""
    return Row(cells=tuple(cell if isinstance(cell, Number) else str(cell) for cell in cells), control=control)


def means_table(results: Sequence[ComparedResult]) -> TableView:
    """Return the means of all results, by the official names of the metrics."""
    known = dict.fromkeys(name for item in results for name in (*item.metric_spec.official.values(), *item.means))
    columns = [name for name in known if any(item.means.get(name) for item in results)]
    return TableView(
        caption=f"Means over all {'objects' if all(item.metric_spec.of_objects for item in results) else 'videos'}",
        columns=("results", *columns, "control"),
        rows=tuple(
            row(
                item.name,
                *(Number(item.means.get(name, "")) for name in columns),
                ", ".join(item.controls),
                control=bool(item.controls),
            )
            for item in results
        ),
    )


def objects_table(results: Sequence[ComparedResult], notes: list[str]) -> TableView | None:
    """Return the scores of each object, results side by side; None if no result has objects."""
    with_objects = [item for item in results if item.objects]
    names = list(dict.fromkeys(name for item in with_objects for name in item.objects))
    if not names:
        return None
    if len(names) > _MOST_ROWS:
        notes.append(f"the table of objects shows the first {_MOST_ROWS} of {len(names)} objects")
    metrics = list(dict.fromkeys(metric for item in with_objects for row in item.objects.values() for metric in row))
    metrics = [name for name in ("J-Mean", "F-Mean") if name in metrics] or metrics
    columns = [(item, metric) for item in with_objects for metric in metrics]
    return TableView(
        caption=f"{' and '.join(metric.removesuffix('-Mean') for metric in metrics)} of each object",
        columns=("object", *(f"{item.label} {column}" for item, column in columns)),
        rows=tuple(
            row(name, *(Number(item.objects.get(name, {}).get(column, "")) for item, column in columns))
            for name in names[:_MOST_ROWS]
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
    return TableView(
        caption=f"Settings of {name}" + (f", all with {', '.join(same)}" if same else ""),
        columns=("rank", *map(axis_label, varying), *(official[measure] for measure in measures), "control"),
        rows=tuple(
            row(
                rank,
                *("–" if (value := means.setting.value(key)) in ("", None) else value for key in varying),
                *(Number(exact_text(means.measures[measure])) for measure in measures),
                ", ".join(controls_of[means.setting]),
                control=bool(controls_of[means.setting]),
            )
            for rank, means in listed
        ),
    )


def other_tables(name: str, tables: Iterable[Table], notes: list[str]) -> list[TableView]:
    """Return tables that a folder of results holds, unchanged."""
    views = []
    for table in tables:
        if len(table.rows) > _MOST_ROWS:
            notes.append(f"{name}: table {table.name} shows the first {_MOST_ROWS} of {len(table.rows)} rows")
        rows = [
            row(first, *(Number(text) if _is_number(text) else text for text in others))
            for first, *others in table.rows[:_MOST_ROWS]
        ]
        views.append(TableView(caption=f"{name}: {table.name}", columns=table.columns, rows=tuple(rows)))
    return views


def options_table(name: str, results: Sweep | Propagation) -> TableView | None:
    """Return the recorded options of a folder, or the settings in its records; None if it has neither."""
    options: Mapping[str, Any] = results.options
    if not options and isinstance(results, Propagation):
        features = [f"{feature}={weight!r}" for feature, weight in results.features.items()]
        options = ({"feature": features} if features else {}) | results.settings
    if not options:
        return None
    return TableView(
        caption=f"{name}: recorded options",
        columns=("option", "value"),
        rows=tuple(row(key, _option_text(value)) for key, value in options.items()),
    )


def features_tables(name: str, facts: Iterable[FeatureFacts]) -> list[TableView]:
    """Return one table per feature: what determined it, and which device computed it."""
    return [
        TableView(
            caption=f"{name}: feature {item.feature}"
            + (f" (control: {', '.join(item.controls)})" if item.controls else ""),
            columns=("field", "value"),
            rows=(
                row("videos", item.videos),
                *(row(key.replace("_", " "), without_folders(value)) for key, value in item.fields.items()),
            ),
        )
        for item in facts
    ]


def cost_tables(name: str, facts: Iterable[FeatureFacts], timing: Mapping[str, float] | None) -> list[TableView]:
    """Return the cost of features and of a sweep."""
    features = [
        row(
            item.feature,
            *map(Number, (item.known, f"{item.bytes / 1e6:.2f}", item.frames, f"{item.seconds:.1f}")),
            Number("" if item.frames_per_second is None else f"{item.frames_per_second:.2f}"),
            control=bool(item.controls),
        )
        for item in facts
        if item.known
    ]
    seconds = [row(part, Number(repr(value))) for part, value in (timing or {}).items()]
    views = [
        TableView(
            caption=f"{name}: features in the cache, and the runs that finished them",
            columns=("feature", "videos", "megabytes", "frames computed", "seconds", "frames per second"),
            rows=tuple(features),
        ),
        TableView(
            caption=f"{name}: seconds of the sweep's last run; each part sums over all threads or workers",
            columns=("part", "seconds"),
            rows=tuple(seconds),
        ),
    ]
    return [view for view in views if view.rows]


def _option_text(value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    return ", ".join(without_folders(str(text)) for text in texts)


def without_folders(text: str) -> str:
    """Shorten absolute paths, which tell more about a machine than about a result, to their last part."""
    if Path(text).is_absolute():
        return Path(text).name
    return re.sub(r"(?<![^\s=,'\"(])/(?:[^/\s=,]+/)+([^/\s=,]+)", r"\1", text)


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True
