"""Reading the folder of a sweep: the inverse of what `ted.pipeline.sweeping.tables` writes."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...propagate.settings import PropagationSettings
from ...store import FeatureChoice
from ...store.errors import ConfigError, TedError
from ..choices import parse_choice
from ..metrics.jf import Statistics
from ..sweeping.results import MEASURES, SweepResult, VideoResult
from ..sweeping.scores import ObjectScore
from ..sweeping.space import PARAMETERS, Setting
from .csv_tables import read_table
from .recorded import read_json, read_options
from .used import UsedUnit

__all__ = ["Sweep", "is_sweep", "read_sweep"]

#: Columns of units, by the part. Sweeps of earlier versions have none of the parts' noise levels.
_UNITS = {"video": "video_unit", "image": "image_unit"}


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
    result: SweepResult
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
    ranked = read_table(folder / "settings.csv", [*PARAMETERS, *MEASURES]).records
    rows = read_table(
        folder / "results.csv", ["dataset", "video", "object", "frames", *PARAMETERS, *_UNITS.values(), *MEASURES]
    )
    try:
        settings = [_setting(row) for row in ranked]
        known = set(settings)
        scores: dict[tuple[str, str], dict[Setting, list[ObjectScore]]] = {}
        units: dict[Setting, dict[UsedUnit, None]] = {}
        for row in rows.records:
            setting = _setting(row)
            if setting not in known:  # of a video that failed: no mean counts it
                continue
            place = row["dataset"], row["video"]
            scores.setdefault(place, {}).setdefault(setting, []).append(_score(row))
            named = (
                UsedUnit.from_notation(*place, row[name], alpha_bar=_number(row.get(f"{part}_alpha_bar")))
                for part, name in _UNITS.items()
            )
            units.setdefault(setting, {}).update(dict.fromkeys(unit for unit in named if unit is not None))
    except (ValueError, TypeError, TedError) as error:
        raise ConfigError(f"the tables in {folder} are not those of `ted sweep`: {error}") from error
    failures = read_json(folder / "best.json").get("failures", {})
    videos = [
        VideoResult(dataset=dataset, video=video, units={}, scores={key: tuple(items) for key, items in found.items()})
        for (dataset, video), found in scores.items()
    ]
    seconds = read_json(folder / "timing.json")
    return Sweep(
        path=folder,
        options=read_options(folder / "sweep.toml", "sweep"),
        result=SweepResult(settings=settings, videos=videos, failures=failures),
        units={setting: tuple(found) for setting, found in units.items()},
        timing={name: value for name, value in seconds.items() if isinstance(value, int | float)},
    )


def _setting(row: Mapping[str, str]) -> Setting:
    return Setting(
        video=_choice(row["video_feature"]),
        image=_choice(row["image_feature"]),
        propagation=PropagationSettings(
            alpha=float(row["alpha"]),
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


def _score(row: Mapping[str, str]) -> ObjectScore:
    return ObjectScore(
        object_id=int(row["object"]),
        frames=int(row["frames"]),
        j=_statistics(row, "j"),
        f=_statistics(row, "f") if row["f"] else None,
    )


def _statistics(row: Mapping[str, str], letter: str) -> Statistics:
    decay = row[f"{letter}_decay"]
    return Statistics(
        mean=float(row[letter]), recall=float(row[f"{letter}_recall"]), decay=float(decay) if decay else math.nan
    )
