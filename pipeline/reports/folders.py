"""Folders of results, of propagation and of sweeps, read back from their records and tables."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...store.errors import ConfigError, TedError
from ..runs.result_folders import RECORD
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.space import NUMBERS, Setting
from ..tasks.base import EvaluationTables
from ..tasks.masks.scores import MASKS, means_of_objects
from ..tasks.registry import has_evaluations, metric_spec_of, read_evaluations
from ..tasks.scoring import MetricSpec, Values
from ..tasks.tables import Table, known_mean, read_table
from .provenance import UsedUnit


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """A folder that ``ted propagate`` and ``ted evaluate`` wrote."""

    options: Mapping[str, Any]  # resolved options of ``ted propagate``
    folders: Mapping[str, Path]  # folder of each video's results, by its name
    evaluations: tuple[EvaluationTables, ...]  # scores, one entry per kind of table
    # features and settings: weights of the features, and settings of propagation, of the first video
    features: Mapping[str, float]
    settings: Mapping[str, Any]
    mixed: bool  # whether other videos have other features or settings
    units: tuple[UsedUnit, ...]  # feature units of all videos
    timing: Mapping[str, float] = field(default_factory=dict)

    @property
    def metric_specs(self) -> set[MetricSpec]:
        """Metrics by which the results were scored."""
        return {found.metric_spec for found in self.evaluations}

    def other_tables(self, metric_spec: MetricSpec) -> tuple[Table, ...]:
        """Return the tables that a page of this metric does not show elsewhere."""
        return tuple(
            table
            for found in self.evaluations
            if found.metric_spec != metric_spec or not metric_spec.of_objects
            for table in found.tables
        )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A folder that ``ted sweep`` wrote."""

    options: Mapping[str, Any]  # resolved options of ``ted sweep``
    metric_spec: MetricSpec  # metric of the scores
    ranking: Sequence[SettingMeans]  # means over all videos under each setting, best first
    by_video: Mapping[str, Sequence[SettingMeans]]  # ranking of the settings on each video, by its name
    # values of each (video, object) under each setting; empty if the metric scores whole videos
    objects: Mapping[Setting, Mapping[tuple[str, int], Values]]
    failures: Mapping[str, str]  # reason why a video failed, by its name
    units_of: Mapping[Setting, tuple[UsedUnit, ...]]  # feature units of all videos under each setting
    timing: Mapping[str, float]  # seconds of the last run, by activity

    @property
    def metric_specs(self) -> set[MetricSpec]:
        """Metrics by which the results were scored; empty if all videos failed."""
        return {self.metric_spec} if self.ranking else set()

    @property
    def units(self) -> tuple[UsedUnit, ...]:
        """Feature units of all videos and settings."""
        return tuple(dict.fromkeys(unit for units in self.units_of.values() for unit in units))


def read_folder(folder: Path) -> Sweep | Propagation:
    """Read a folder of results.

    Raises
    ------
    ConfigError
        If there is no such folder, it holds no results, or its records or tables cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; `ted propagate` and `ted sweep` make folders of results")
    if any((folder / name).is_file() for name in ("settings.csv", "journal.jsonl")):
        return read_sweep(folder)
    # The results of some datasets lie one folder deeper.
    paths = sorted([*folder.glob(f"*/{RECORD}"), *folder.glob(f"*/*/{RECORD}")])
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not paths and not has_evaluations(folder):
        raise ConfigError(f"{folder} holds no results of `ted propagate` or `ted sweep`")
    records = [_read_record(path) for path in paths]
    features, settings, _ = records[0] if records else ({}, {}, ())
    return Propagation(
        options=_read_options(folder / "propagate.toml", "propagate"),
        folders={path.parent.name: path.parent for path in paths},
        evaluations=read_evaluations(folder),
        features=features,
        settings=settings,
        mixed=len({f"{sorted(item[1].items())} {item[0]}" for item in records}) > 1,
        units=tuple(dict.fromkeys(unit for *_, units in records for unit in units)),
    )


def read_sweep(folder: Path) -> Sweep:
    """Read the tables of a sweep (see `ted.pipeline.runs.sweeping.tables`), every number exactly as computed.

    Raises
    ------
    ConfigError
        If tables are missing or cannot be read.
    """
    if not (folder / "settings.csv").is_file():
        raise ConfigError(f"the sweep in {folder} has no tables yet: run the same `ted sweep` again, which finishes it")
    ranked = read_table(folder / "settings.csv", NUMBERS)
    metric_spec = metric_spec_of(ranked.columns)
    if metric_spec is None:
        raise ConfigError(f"the tables in {folder} have the columns of no metric that `ted sweep` knows")
    rows = read_table(folder / "results.csv", ["dataset", "video", *NUMBERS, *metric_spec.columns])
    # Sweeps of earlier versions do not record noise levels.
    parts = [column.removesuffix("_unit") for column in rows.columns if column.endswith("_unit")]

    def means(setting: Setting, measures: Values, videos: int, objects: int) -> SettingMeans:
        count = objects if metric_spec.of_objects else videos
        return SettingMeans(setting=setting, metric_spec=metric_spec, videos=videos, objects=count, measures=measures)

    def read_values(row: Mapping[str, str]) -> Values:
        return {name: float(row[name]) if row[name] else None for name in metric_spec.columns}

    try:
        ranking = [
            means(Setting.from_columns(row), read_values(row), int(row["videos"]), int(row.get("objects") or 0))
            for row in ranked.records
        ]
        known = {item.setting for item in ranking}
        values: dict[str, dict[Setting, list[Values]]] = {}
        objects: dict[Setting, dict[tuple[str, int], Values]] = {}
        units: dict[Setting, dict[UsedUnit, None]] = {}
        for row in rows.records:
            setting = Setting.from_columns(row)
            if setting not in known:  # a row of a failed video, which counts in no mean
                continue
            found = read_values(row)
            values.setdefault(row["video"], {}).setdefault(setting, []).append(found)
            if metric_spec.of_objects:
                objects.setdefault(setting, {})[row["video"], int(row["object"])] = found
            for part in parts:
                level, video = row.get(f"{part}_alpha_bar"), f"{row['dataset']}/{row['video']}"
                unit = UsedUnit.parse(row[f"{part}_unit"], video, float(level) if level else None)
                if unit is not None:
                    units.setdefault(setting, {})[unit] = None
    except (ValueError, TypeError, KeyError, TedError) as error:
        raise ConfigError(f"the tables in {folder} are not those of `ted sweep`: {error}") from error
    complete = {video: found for video, found in values.items() if found.keys() == known}
    by_video = {
        video: [means(setting, _video_values(some, metric_spec), 1, len(some)) for setting, some in found.items()]
        for video, found in complete.items()
    }
    seconds, failures = _read_json(folder / "timing.json"), _read_json(folder / "best.json").get("failures")
    return Sweep(
        options=_read_options(folder / "sweep.toml", "sweep"),
        metric_spec=metric_spec,
        ranking=ranking,
        by_video={video: sorted(some, key=lambda item: item.rank, reverse=True) for video, some in by_video.items()},
        objects={
            setting: {key: item for key, item in found.items() if key[0] in complete}
            for setting, found in objects.items()
        },
        failures=failures if isinstance(failures, dict) else {},
        units_of={setting: tuple(found) for setting, found in units.items()},
        timing={name: value for name, value in seconds.items() if isinstance(value, int | float)},
    )


def _video_values(rows: Sequence[Values], metric_spec: MetricSpec) -> Values:
    """Return the values of a video from its rows: one per object, or one."""
    if metric_spec == MASKS:
        return means_of_objects(rows)
    return {column: known_mean([row[column] for row in rows]) for column in metric_spec.columns}


def _read_record(path: Path) -> tuple[dict[str, float], dict[str, Any], tuple[UsedUnit, ...]]:
    """Return the features with their weights, the settings, and the feature units of a video's results."""
    record = _read_json(path)
    listed = record.get("features", [])
    features: dict[str, float] = {}
    units = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict):
            level, weight = item.get("alpha_bar"), item.get("weight")
            unit = UsedUnit.parse(str(item.get("unit")), alpha_bar=level if isinstance(level, int | float) else None)
            features[unit.feature if unit else str(item.get("unit"))] = (
                float(weight) if isinstance(weight, int | float) else 0.0
            )
            units += [unit] if unit else []
    found = record.get("settings")
    settings = dict(found) if isinstance(found, dict) else {}
    kernel = settings.get("kernel")
    if isinstance(kernel, dict):  # as text such as ``dense (heads 2)``
        parameters = kernel.get("parameters")
        values = parameters.items() if isinstance(parameters, dict) else ()
        text = ", ".join(f"{name} {value}" for name, value in values)
        settings["kernel"] = f"{kernel.get('name')} ({text})" if text else str(kernel.get("name"))
    return features, settings, tuple(units)


def _read_options(path: Path, command: str) -> dict[str, Any]:
    """Return the options that a command recorded in a TOML file; empty if there is no such file."""
    options = _read(path, lambda content: tomllib.loads(content.decode()), "the options recorded in ").get(command)
    return options if isinstance(options, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    values = _read(path, json.loads)
    return values if isinstance(values, dict) else {}


def _read(path: Path, parse: Callable[[bytes], Any], what: str = "") -> Any:
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {what}{path}: {error}") from error
