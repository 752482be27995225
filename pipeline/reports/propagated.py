"""Reading a folder of results of propagation: what each video's were made of, and how they were evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.csv_tables import Table
from ..tasks.metric_specs import MASKS, MetricSpec
from .evaluated import Evaluation, has_tables, read_evaluations
from .recorded import read_json, read_options
from .used import UsedUnit

__all__ = ["Propagation", "is_propagation", "read_propagation"]

_RECORD = "ted.json"


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """What a folder of ``ted propagate`` and ``ted evaluate`` holds.

    Attributes
    ----------
    path
        The folder.
    options
        Resolved options of ``ted propagate``.
    records
        What each video's results were made of, by the name of their folder.
    folders
        The folders of the videos' results, by name.
    evaluations
        What was measured.
    """

    path: Path
    options: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Path]
    evaluations: tuple[Evaluation, ...]

    def others(self, metric_spec: MetricSpec) -> tuple[Table, ...]:
        """Return the tables of a page by another metric_spec than its own."""
        return tuple(
            table
            for found in self.evaluations
            if found.metric_spec != MASKS or metric_spec != MASKS
            for table in found.tables
        )

    @property
    def features(self) -> dict[str, float]:
        """Weight by feature, of the first video that has a record."""
        first = next(iter(self.records.values()), {})
        named = {}
        for item in _features(first):
            unit = UsedUnit.from_label(str(item.get("unit")))
            named[unit.feature if unit else str(item.get("unit"))] = float(item.get("weight", 0))
        return named

    @property
    def settings(self) -> dict[str, Any]:
        """Parameters of propagation, of the first video that has a record."""
        found = next(iter(self.records.values()), {}).get("settings", {})
        return dict(found) if isinstance(found, dict) else {}

    @property
    def mixed(self) -> bool:
        """Whether videos were propagated with different settings or features."""
        keys = {
            (
                str(sorted(dict(record.get("settings", {})).items())),
                str([(unit.feature, item.get("weight")) for item in _features(record) if (unit := _unit(item))]),
            )
            for record in self.records.values()
        }
        return len(keys) > 1

    @property
    def units(self) -> tuple[UsedUnit, ...]:
        """The feature units of all videos."""
        found = (_unit(item) for record in self.records.values() for item in _features(record))
        return tuple(dict.fromkeys(unit for unit in found if unit is not None))


def is_propagation(folder: Path) -> bool:
    """Whether a folder holds what was propagated, or tables of an evaluation."""
    return has_tables(folder) or any(True for depth in ("*", "*/*") for _ in folder.glob(f"{depth}/{_RECORD}"))


def read_propagation(folder: Path) -> Propagation:
    """Read a folder of results.

    Raises
    ------
    ConfigError
        For records or tables that cannot be read.
    """
    # Some datasets' results lie one folder deeper.
    found = sorted([*folder.glob(f"*/{_RECORD}"), *folder.glob(f"*/*/{_RECORD}")])
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return Propagation(
        path=folder,
        options=read_options(folder / "propagate.toml", "propagate"),
        records={path.parent.name: read_json(path) for path in found},
        folders={path.parent.name: path.parent for path in found},
        evaluations=read_evaluations(folder),
    )


def _features(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    features = record.get("features", [])
    return [item for item in features if isinstance(item, dict)] if isinstance(features, list) else []


def _unit(item: Mapping[str, Any]) -> UsedUnit | None:
    level = item.get("alpha_bar")
    return UsedUnit.from_label(str(item.get("unit")), level if isinstance(level, int | float) else None)
