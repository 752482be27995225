"""Reading a folder of propagated masks: what each video's was made of, and the tables of their evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...store.errors import ConfigError
from .csv_tables import Table, read_table
from .recorded import read_json, read_options
from .used import UsedUnit

__all__ = ["Propagation", "is_propagation", "read_propagation"]

_RECORD = "ted.json"
_OVERALL, _OBJECTS = "global_results-", "per-sequence_results-"


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
        What each video's masks were made of, by the name of their folder.
    masks
        The folders of the videos' masks, by name.
    overall, objects
        The two tables of the official evaluation, by the name of the set.
    others
        Further tables of results.
    """

    path: Path
    options: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]
    masks: Mapping[str, Path]
    overall: Mapping[str, Table]
    objects: Mapping[str, Table]
    others: tuple[Table, ...]

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
    """Whether a folder holds propagated masks, or tables of an evaluation."""
    return any(True for pattern in (f"*/{_RECORD}", f"*/*/{_RECORD}", f"{_OVERALL}*.csv") for _ in folder.glob(pattern))


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
    tables = {path.stem: path for path in sorted(folder.glob("*_results-*.csv"))}
    overall = [name for name in tables if name.startswith(_OVERALL)]
    objects = [name for name in tables if name.startswith(_OBJECTS)]
    return Propagation(
        path=folder,
        options=read_options(folder / "propagate.toml", "propagate"),
        records={path.parent.name: read_json(path) for path in found},
        masks={path.parent.name: path.parent for path in found},
        overall={name.removeprefix(_OVERALL): _first_row(tables[name]) for name in overall},
        objects={
            name.removeprefix(_OBJECTS): read_table(tables[name], ["Sequence", "J-Mean", "F-Mean"]) for name in objects
        },
        others=tuple(read_table(path) for name, path in tables.items() if name not in (*overall, *objects)),
    )


def _first_row(path: Path) -> Table:
    table = read_table(path)
    if len(table.rows) != 1:
        raise ConfigError(f"table {path} has {len(table.rows)} rows, and not the one of `ted evaluate`")
    return table


def _features(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    features = record.get("features", [])
    return [item for item in features if isinstance(item, dict)] if isinstance(features, list) else []


def _unit(item: Mapping[str, Any]) -> UsedUnit | None:
    level = item.get("alpha_bar")
    return UsedUnit.from_label(str(item.get("unit")), level if isinstance(level, int | float) else None)
