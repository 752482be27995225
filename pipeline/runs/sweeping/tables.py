"""The tables of a sweep: one row a video, object and setting; means under each setting; the best of them."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...tasks.metric_specs import MetricSpec
from ..files import written_whole
from .results import SettingMeans, SweepResult, finite
from .space import Setting, setting_columns

__all__ = ["describe", "write_json", "write_tables"]

_UNITS, _LEVELS = ("video_unit", "image_unit"), ("video_alpha_bar", "image_alpha_bar")


def write_tables(result: SweepResult, folder: Path) -> list[Path]:
    """Write ``results.csv``, the same as JSON lines ``results.jsonl``, ``settings.csv`` and ``best.json``.

    Numbers are written so that they are read back exactly; what is not a number, or was not measured, is an empty cell,
    or null.

    Returns
    -------
    list of Path
        The files.
    """
    parameters = setting_columns(result.settings)
    rows = list(_rows(result, parameters))
    paths = [folder / name for name in ("results.csv", "results.jsonl", "settings.csv", "best.json")]
    places = ("dataset", "video", *_objects("object", result.metric_spec), "frames")
    _write_csv(paths[0], (*places, *parameters, *_UNITS, *_LEVELS, *result.metric_spec.columns), rows)
    with written_whole(paths[1]) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    columns = (*parameters, "videos", *_objects("objects", result.metric_spec), *result.metric_spec.columns)
    _write_csv(paths[2], columns, [_means_row(item) | _parameters(item.setting, parameters) for item in result.ranking])
    best = {
        "missing_videos": result.missing,
        "ranked_by": result.metric_spec.ranked_by(result.ranking[0].measures) if result.ranking else None,
        "overall": describe(result.ranking[0]) if result.ranking else None,
        "videos": {name: describe(ranking[0]) for name, ranking in result.by_video.items()},
        "failures": dict(result.failures),
    }
    write_json(paths[3], best)
    return paths


def describe(means: SettingMeans) -> dict[str, Any]:
    """Return a setting, its scores, and the options of ``ted propagate`` that mean it, as JSON values."""
    return _means_row(means) | {"options": means.setting.options}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _rows(result: SweepResult, parameters: Sequence[str]) -> Iterator[dict[str, Any]]:
    for video in result.videos:
        for setting in result.settings:
            columns = setting.columns
            units = {f"{name}_unit": video.units.get(columns[f"{name}_feature"], "") for name in ("video", "image")}
            levels = {
                f"{name}_alpha_bar": video.alpha_bars.get(columns[f"{name}_feature"]) for name in ("video", "image")
            }
            score = video.scores.get(setting)
            for item in score.rows if score else ():
                place: dict[str, Any] = {"dataset": video.dataset, "video": video.video}
                place |= dict.fromkeys(_objects("object", result.metric_spec), item.object_id)
                measures = {name: finite(item.values[name]) for name in result.metric_spec.columns}
                yield place | {"frames": item.frames} | _parameters(setting, parameters) | units | levels | measures


def _parameters(setting: Setting, names: Sequence[str]) -> dict[str, Any]:
    return {name: setting.value(name) for name in names}


def _means_row(means: SettingMeans) -> dict[str, Any]:
    counts = {"videos": means.videos} | dict.fromkeys(_objects("objects", means.metric_spec), means.objects)
    return means.setting.columns | counts | {name: finite(means.measures[name]) for name in means.metric_spec.columns}


def _objects(column: str, metric_spec: MetricSpec) -> tuple[str, ...]:
    """Return a column of objects where they are what is measured."""
    return (column,) if metric_spec.of_objects else ()


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None becomes an empty cell, and a float its shortest exact text
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
