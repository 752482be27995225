"""Files of a sweep: tables of scores and means, the best settings, configuration, timing and pictures."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...choices.config_file import save_config
from ...tasks.scoring import MetricSpec
from ...tasks.tables import known_value
from ..files import written_whole
from .plots import can_draw, write_plots
from .results import SettingMeans, SweepResult
from .space import Setting, setting_columns

_log = logging.getLogger(__name__)


def write_outputs(
    result: SweepResult,
    folder: Path,
    *,
    options: Mapping[str, Any],
    timing: Mapping[str, Any],
    plots: bool,
    compare: Setting | None = None,
) -> list[Path]:
    """Write all files of a sweep; return their paths.

    Parameters
    ----------
    options
        Resolved options of ``ted sweep``, for ``sweep.toml``.
    timing
        Contents of ``timing.json``.
    plots
        Whether to draw pictures; without matplotlib, a warning names the package to install.
    compare
        A setting to compare the best ones with, if the sweep has it.
    """
    files = write_tables(result, folder)
    save_config(folder / "sweep.toml", "sweep", options)
    write_json(folder / "timing.json", timing)
    files += [folder / "sweep.toml", folder / "timing.json"]
    if plots and can_draw():
        files += write_plots(result, folder, default=compare)
    elif plots:
        _log.warning("no pictures: they need matplotlib (python -m pip install matplotlib)")
    return files


def write_tables(result: SweepResult, folder: Path) -> list[Path]:
    """Write ``results.csv``, the same as JSON lines ``results.jsonl``, ``settings.csv`` and ``best.json``.

    Numbers are written exactly. A value that is NaN or was not measured is an empty cell, or null.
    """
    parameters = setting_columns(result.settings)
    rows = list(_rows(result, parameters))
    paths = [folder / name for name in ("results.csv", "results.jsonl", "settings.csv", "best.json")]
    leading = ("dataset", "video", *_objects("object", result.metric_spec), "frames")
    names = result.settings[0].names
    about = [f"{name}_{what}" for what in ("unit", "alpha_bar") for name in names]
    _write_csv(paths[0], (*leading, *parameters, *about, *result.metric_spec.columns), rows)
    with written_whole(paths[1]) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    columns = (*parameters, "videos", *_objects("objects", result.metric_spec), *result.metric_spec.columns)
    _write_csv(paths[2], columns, [_means_row(item) | _parameters(item.setting, parameters) for item in result.ranking])
    best = {
        "missing_videos": result.missing,
        "ranked_by": result.metric_spec.ranked_by(result.ranking[0].measures) if result.ranking else None,
        "overall": describe(result, result.ranking[0]) if result.ranking else None,
        "videos": {name: describe(result, ranking[0]) for name, ranking in result.by_video.items()},
        "failures": dict(result.failures),
    }
    write_json(paths[3], best)
    return paths


def describe(result: SweepResult, means: SettingMeans) -> dict[str, Any]:
    """Return a setting, its scores, and its options of ``ted propagate``, as JSON values."""
    return _means_row(means) | {"options": result.options(means.setting)}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _rows(result: SweepResult, parameters: Sequence[str]) -> Iterator[dict[str, Any]]:
    for video in result.videos:
        for setting in result.settings:
            features = [(name, str(setting.feature(name) or "")) for name in setting.names]
            units = {f"{name}_unit": video.units.get(feature, "") for name, feature in features}
            levels = {f"{name}_alpha_bar": video.alpha_bars.get(feature) for name, feature in features}
            score = video.scores.get(setting)
            for item in score.rows if score else ():
                row: dict[str, Any] = {"dataset": video.dataset, "video": video.video}
                row |= dict.fromkeys(_objects("object", result.metric_spec), item.object_id)
                measures = {name: known_value(item.values[name]) for name in result.metric_spec.columns}
                yield row | {"frames": item.frames} | _parameters(setting, parameters) | units | levels | measures


def _parameters(setting: Setting, names: Sequence[str]) -> dict[str, Any]:
    return {name: setting.value(name) for name in names}


def _means_row(means: SettingMeans) -> dict[str, Any]:
    counts = {"videos": means.videos} | dict.fromkeys(_objects("objects", means.metric_spec), means.objects)
    return (
        means.setting.columns | counts | {name: known_value(means.measures[name]) for name in means.metric_spec.columns}
    )


def _objects(column: str, metric_spec: MetricSpec) -> tuple[str, ...]:
    """Return the column of objects, if objects are scored."""
    return (column,) if metric_spec.of_objects else ()


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None becomes an empty cell, and a float its shortest exact text
    with written_whole(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
