"""The tables of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.sweeping.axes import axis_label
from ..runs.sweeping.space import PARAMETERS, Setting
from ..tasks.csv_tables import Table
from .compared import Compared, exact_text
from .propagated import Propagation
from .provenance import FeatureFacts
from .swept import Sweep
from .views import Cell, Row, TableView, number, row, texts

__all__ = [
    "cost_tables",
    "features_table",
    "means_table",
    "objects_table",
    "options_table",
    "other_tables",
    "settings_table",
]

#: Rows at most; what is left out is said.
_MOST_SETTINGS, _MOST_OBJECTS = 100, 600


def means_table(view_id: str, compared: Sequence[Compared]) -> TableView:
    """Put the means of all results and controls under each other, by the official names."""
    known = dict.fromkeys(name for item in compared for name in (*item.metric_spec.official.values(), *item.means))
    columns = [name for name in known if any(item.means.get(name) for item in compared)]
    return TableView(
        view_id=view_id,
        caption=f"Means over all {'objects' if all(item.metric_spec.of_objects for item in compared) else 'videos'}",
        columns=("results", *columns, "control", "setting"),
        rows=tuple(
            row(
                item.name,
                [*(number(item.means.get(name, "")) for name in columns), *texts(_controls(item), item.setting)],
                control=bool(item.controls),
            )
            for item in compared
        ),
    )


def objects_table(view_id: str, compared: Sequence[Compared], notes: list[str]) -> TableView | None:
    """Put the scores of each object side by side; None without any."""
    shown = [item for item in compared if item.objects]
    names = list(dict.fromkeys(name for item in shown for name in item.objects))
    if not names:
        return None
    if len(names) > _MOST_OBJECTS:
        notes.append(f"the table of objects shows the first {_MOST_OBJECTS} of {len(names)}")
    columns = ("J-Mean", "F-Mean")
    return TableView(
        view_id=view_id,
        caption="J and F of each object",
        columns=("object", *(f"{item.label} {column}" for item in shown for column in columns)),
        rows=tuple(
            row(name, [number(item.objects.get(name, {}).get(column, "")) for item in shown for column in columns])
            for name in names[:_MOST_OBJECTS]
        ),
    )


def settings_table(view_id: str, name: str, compared: Sequence[Compared], notes: list[str]) -> TableView | None:
    """List the settings of a sweep, the best first, controls among them; None without any."""
    controls_of: dict[Setting, tuple[str, ...]] = {means.setting: () for item in compared for means in item.shared}
    controls_of |= {means.setting: item.controls for item in compared for means in item.ranking}
    every = {means.setting: means for item in compared for means in (*item.ranking, *item.shared)}
    ranked = sorted(every.values(), key=lambda means: means.rank, reverse=True)
    if not ranked:
        return None
    values = {parameter: [means.setting.columns[parameter] for means in ranked] for parameter in PARAMETERS}
    varying = [parameter for parameter in PARAMETERS if len(set(values[parameter])) > 1]
    same = [f"{axis_label(key)} {found[0]}" for key, found in values.items() if key not in varying and found[0] != ""]
    official = compared[0].metric_spec.official
    measures = [measure for measure in official if any(exact_text(means.measures[measure]) for means in ranked)]
    best = {item.ranking[0].setting for item in compared}
    kept = [means for place, means in enumerate(ranked) if place < _MOST_SETTINGS or means.setting in best]
    if len(kept) < len(ranked):
        notes.append(
            f"{name}: {len(kept)} of {len(ranked)} settings are listed: the best, and the best of each control"
        )
    places = {means.setting: place for place, means in enumerate(ranked, 1)}
    return TableView(
        view_id=view_id,
        caption=f"Settings of {name}" + (f", all with {', '.join(same)}" if same else ""),
        columns=("rank", *map(axis_label, varying), *(official[measure] for measure in measures), "control"),
        rows=tuple(
            row(
                str(places[means.setting]),
                [
                    *texts(
                        *(means.setting.columns[key] if means.setting.columns[key] != "" else "–" for key in varying)
                    ),
                    *(number(exact_text(means.measures[measure])) for measure in measures),
                    *texts(", ".join(controls_of[means.setting])),
                ],
                control=bool(controls_of[means.setting]),
            )
            for means in kept
        ),
    )


def other_tables(view_id: str, name: str, tables: Sequence[Table], notes: list[str]) -> list[TableView]:
    """Show further tables of results as they are."""
    notes += [
        f"{name}: table {table.name} shows the first {_MOST_OBJECTS} of {len(table.rows)} rows"
        for table in tables
        if len(table.rows) > _MOST_OBJECTS
    ]
    return [
        TableView(
            view_id=f"{view_id}-{place}",
            caption=f"{name}: {table.name}",
            columns=table.columns,
            rows=tuple(
                Row(cells=(Cell(cells[0]), *(Cell(text, number=_is_number(text)) for text in cells[1:])))
                for cells in table.rows[:_MOST_OBJECTS]
            ),
        )
        for place, table in enumerate(tables, 1)
    ]


def options_table(view_id: str, name: str, results: Sweep | Propagation) -> TableView | None:
    """List the recorded options of a folder; of masks without any, the settings that lie beside them."""
    options: Mapping[str, Any] = results.options
    if not options and isinstance(results, Propagation):
        features = [f"{feature}={weight!r}" for feature, weight in results.features.items()]
        options = ({"feature": features} if features else {}) | results.settings
    if not options:
        return None
    return TableView(
        view_id=view_id,
        caption=f"{name}: recorded options",
        columns=("option", "value"),
        rows=tuple(row(key, texts(_plain(value))) for key, value in options.items()),
    )


def features_table(view_id: str, name: str, facts: Sequence[FeatureFacts]) -> list[TableView]:
    """Describe features: a table each, of what determined them, and what they were computed on."""
    return [
        TableView(
            view_id=f"{view_id}-{place}",
            caption=f"{name}: feature {item.feature}"
            + (f" (control: {', '.join(item.controls)})" if item.controls else ""),
            columns=("field", "value"),
            rows=(
                row("videos", texts(item.videos)),
                *(row(key.replace("_", " "), texts(value)) for key, value in item.fields.items()),
            ),
        )
        for place, item in enumerate(facts, 1)
    ]


def cost_tables(
    view_id: str, name: str, facts: Sequence[FeatureFacts], timing: Mapping[str, float] | None
) -> list[TableView]:
    """Show what features took, and what a sweep took."""
    tables = []
    known = [item for item in facts if item.known]
    if known:
        tables.append(
            TableView(
                view_id=f"{view_id}-features",
                caption=f"{name}: features in the cache, and the runs that finished them",
                columns=("feature", "videos", "megabytes", "frames computed", "seconds", "frames per second"),
                rows=tuple(
                    row(
                        item.feature,
                        [
                            number(f"{item.known}"),
                            number(f"{item.bytes / 1e6:.2f}"),
                            number(f"{item.frames}"),
                            number(f"{item.seconds:.1f}"),
                            number("" if item.frames_per_second is None else f"{item.frames_per_second:.2f}"),
                        ],
                        control=bool(item.controls),
                    )
                    for item in known
                ),
            )
        )
    if timing:
        tables.append(
            TableView(
                view_id=f"{view_id}-sweep",
                caption=f"{name}: seconds of the sweep's last run; the parts are of all threads or workers together",
                columns=("part", "seconds"),
                rows=tuple(row(key, [number(repr(value))]) for key, value in timing.items()),
            )
        )
    return tables


def _controls(item: Compared) -> str:
    return ", ".join(item.controls)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True
