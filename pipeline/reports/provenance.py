"""What results were made from, and at what cost, as the cache records it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...store import Unit
from ...store.durable import canonical_json
from ..runs.extracting.noise_level import level_text
from .used import Origins, UsedUnit

__all__ = ["FeatureFacts", "features_used"]

#: Fields of a request that are the same for all videos, as they are shown.
_FIELDS = (
    "weights",
    "frame_size",
    "clip_length",
    "clip_overlap",
    "overlap_rule",
    "conditioning",
    "ensemble",
    "seed",
    "noise",
    "compute_dtype",
)


@dataclass(frozen=True, kw_only=True)
class FeatureFacts:
    """A feature that results were made from, over all videos.

    Attributes
    ----------
    feature
        ``backbone:timestep:tap``.
    controls
        What controls results with it are.
    videos
        Number of videos, and how many of these the cache still knows.
    fields
        What determined it, its noise level, and what it was computed on, as texts by name; without what neither the
        cache nor the results know.
    bytes
        Of its units.
    seconds, frames
        That the runs took which finished them, and frames computed in these; several features may share a run.
    """

    feature: str
    controls: tuple[str, ...]
    videos: int
    known: int
    fields: Mapping[str, str]
    bytes: int
    seconds: float
    frames: int

    @property
    def frames_per_second(self) -> float | None:
        """Frames computed per second; None where no run is recorded."""
        return self.frames / self.seconds if self.frames and self.seconds > 0 else None


def features_used(units: Iterable[UsedUnit], origins: Origins) -> list[FeatureFacts]:
    """Gather what is known of the features among some units: one entry for each way in which one was made."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[UsedUnit, Unit | None]]] = defaultdict(list)
    for used in dict.fromkeys(units):
        unit = origins.find(used)
        groups[used.feature, () if unit is None else tuple(_determining(unit).items())].append((used, unit))
    return [_facts(feature, fields, found, origins) for (feature, fields), found in groups.items()]


def _facts(
    feature: str,
    fields: tuple[tuple[str, str], ...],
    found: list[tuple[UsedUnit, Unit | None]],
    origins: Origins,
) -> FeatureFacts:
    units = [unit for _, unit in found if unit is not None]
    runs = [unit.run_record for unit in units]
    computed = {
        name: ", ".join(dict.fromkeys(filter(None, (_text(run.get(name)) for run in runs))))
        for name in ("device", "started", "versions")
    }
    return FeatureFacts(
        feature=feature,
        controls=origins.controls(used for used, _ in found),
        videos=len({used.video for used, _ in found}),
        known=len(units),
        fields=dict(fields) | _level(found, origins) | {name: text for name, text in computed.items() if text},
        bytes=sum(unit.marker.total_bytes for unit in units),
        seconds=sum(_number(run.get("seconds")) for run in runs),
        frames=int(sum(_number(run.get("frames_computed")) for run in runs)),
    )


def _determining(unit: Unit) -> dict[str, str]:
    fields = {name: unit.spec.field_text(name) for name in _FIELDS}
    return fields | {"form": unit.spec.form}


def _level(found: list[tuple[UsedUnit, Unit | None]], origins: Origins) -> dict[str, str]:
    levels = sorted({level for used, _ in found if (level := origins.alpha_bar(used)) is not None})
    named = [f"{level:.6g} (signal-to-noise ratio {level_text(level)})" for level in levels]
    return {"alpha_bar": ", ".join(named)} if named else {}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {item}" for name, item in value.items())
    return "" if value is None else value if isinstance(value, str) else canonical_json(value).decode()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
