"""Reading the folder of a sweep: the inverse of what `ted.pipeline.runs.sweeping.tables` writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...propagate.settings import PropagationSettings
from ...store import FeatureChoice
from ...store.errors import ConfigError, TedError
from ..choices.features import parse_choice
from ..runs.sweeping.results import SettingMeans
from ..runs.sweeping.space import PARAMETERS, Setting
from ..tasks.csv_tables import read_table
from ..tasks.masks.scores import means_of_objects
from ..tasks.metric_specs import MetricSpec, Values, metric_spec_of
from .recorded import read_json, read_options
from .used import UsedUnit

__all__ = ["Sweep", "SweptScores", "is_sweep", "read_sweep"]

#: Columns of units, by the part. Sweeps of earlier versions have none of the parts' noise levels.
_UNITS = {"video": "video_unit", "image": "image_unit"}


@dataclass(frozen=True, kw_only=True)
class SweptScores:
    """The scores of a sweep, as its tables have them.

    Attributes
    ----------
    metric_spec
        What was measured.
    ranking
        Under every setting, of all videos together, the best first.
    by_video
        The ranking of each video by itself, by its name.
    objects
        Values by object of each video, under each setting; none of videos that are measured as a whole.
    failures
        Why videos failed, by name.
    """

    metric_spec: MetricSpec
    ranking: Sequence[SettingMeans]
    by_video: Mapping[str, Sequence[SettingMeans]]
    objects: Mapping[Setting, Mapping[tuple[str, int], Values]]
    failures: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What the folder of a sweep holds.

    Attributes
    ----------
    path
        The folder.
    options
        Resolved options of ``ted sweep``.
    result
        The scores.
    units
        The feature units under each setting, of all videos.
    timing
        Seconds of the last run, by what they were spent on.
    """

    path: Path
    options: Mapping[str, Any]
    result: SweptScores
    units: Mapping[Setting, tuple[UsedUnit, ...]]
    timing: Mapping[str, float]


def is_sweep(folder: Path) -> bool:
    """Whether a folder is one of a sweep."""
    return any((folder / name).is_file() for name in ("settings.csv", "journal.jsonl"))


def read_sweep(folder: Path) -> Sweep:
    """Read the tables of a sweep, each number exactly as it was computed.

    Raises
    ------
    ConfigError
        When tables are missing, or hold something else.
    """
    if not (folder / "settings.csv").is_file():
        raise ConfigError(f"the sweep in {folder} has no tables yet: run the same `ted sweep` again, which finishes it")
    ranked = read_table(folder / "settings.csv", PARAMETERS)
    metric_spec = metric_spec_of(ranked.columns)
    if metric_spec is None:
        raise ConfigError(f"the tables in {folder} have the columns of no measure that `ted sweep` knows")
    rows = read_table(folder / "results.csv", ["dataset", "video", *PARAMETERS, *_UNITS.values(), *metric_spec.columns])
    try:
        ranking = [_means(row, metric_spec) for row in ranked.records]
        known = {means.setting for means in ranking}
        values: dict[str, dict[Setting, list[Values]]] = {}
        objects: dict[Setting, dict[tuple[str, int], Values]] = {}
        units: dict[Setting, dict[UsedUnit, None]] = {}
        for row in rows.records:
            setting = _setting(row)
            if setting not in known:  # of a video that failed: no mean counts it
                continue
            place = row["dataset"], row["video"]
            found = _values(row, metric_spec)
            values.setdefault(row["video"], {}).setdefault(setting, []).append(found)
            if metric_spec.of_objects:
                objects.setdefault(setting, {})[row["video"], int(row["object"])] = found
            named = (
                UsedUnit.from_notation(*place, row[name], alpha_bar=_number(row.get(f"{part}_alpha_bar")))
                for part, name in _UNITS.items()
            )
            units.setdefault(setting, {}).update(dict.fromkeys(unit for unit in named if unit is not None))
    except (ValueError, TypeError, KeyError, TedError) as error:
        raise ConfigError(f"the tables in {folder} are not those of `ted sweep`: {error}") from error
    complete = {video: found for video, found in values.items() if found.keys() == known}
    seconds = read_json(folder / "timing.json")
    return Sweep(
        path=folder,
        options=read_options(folder / "sweep.toml", "sweep"),
        result=SweptScores(
            metric_spec=metric_spec,
            ranking=ranking,
            by_video={video: _by_rank(found, metric_spec) for video, found in complete.items()},
            objects={
                setting: {place: item for place, item in found.items() if place[0] in complete}
                for setting, found in objects.items()
            },
            failures=read_json(folder / "best.json").get("failures", {}),
        ),
        units={setting: tuple(found) for setting, found in units.items()},
        timing={name: value for name, value in seconds.items() if isinstance(value, int | float)},
    )


def _means(row: Mapping[str, str], metric_spec: MetricSpec) -> SettingMeans:
    videos = int(row["videos"])
    return SettingMeans(
        setting=_setting(row),
        metric_spec=metric_spec,
        videos=videos,
        objects=int(row["objects"]) if metric_spec.of_objects else videos,
        measures=_values(row, metric_spec),
    )


def _by_rank(values: Mapping[Setting, Sequence[Values]], metric_spec: MetricSpec) -> list[SettingMeans]:
    """Rank the settings on one video, of which there is a row for each object, or one."""
    means = [
        SettingMeans(
            setting=setting,
            metric_spec=metric_spec,
            videos=1,
            objects=len(rows),
            measures=means_of_objects(rows) if metric_spec.of_objects else rows[0],
        )
        for setting, rows in values.items()
    ]
    return sorted(means, key=lambda item: item.rank, reverse=True)


def _setting(row: Mapping[str, str]) -> Setting:
    return Setting(
        video=_choice(row["video_feature"]),
        image=_choice(row["image_feature"]),
        alpha=float(row["alpha"]),
        propagation=PropagationSettings(
            temperature=float(row["temperature"]),
            top_k=int(row["top_k"]),
            radius=int(row["radius"]),
            context=int(row["context"]),
            renormalize=bool(json.loads(row["renormalize"].lower())),
        ),
    )


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _choice(text: str) -> FeatureChoice | None:
    return parse_choice(text) if text else None


def _values(row: Mapping[str, str], metric_spec: MetricSpec) -> Values:
    return {name: float(row[name]) if row[name] else None for name in metric_spec.columns}
