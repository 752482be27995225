"""Feature units that results were made from, and what the cache records about them: origin, cost, controls."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...store import Cache, Entry, FeatureChoice, Unit, most_faithful, tap_name
from ...store.durable import canonical_json
from ...store.errors import CacheError, ConfigError
from ..runs.extracting.noise_level import level_text

_LABEL = re.compile(
    r"(?P<video>.+) (?P<backbone>\S+)@(?P<digest>[0-9a-f]{8}) t(?P<timestep>\d+) (?P<tap>\S+)(?: (?P<form>\S+))?"
)
_NOTATION = re.compile(r"(?P<backbone>[^@]+)@(?P<digest>[0-9a-f]+):(?P<timestep>\d+):(?P<tap>.+)")

#: Backbones without learned weights, and the control that they are.
_NOTHING_LEARNED = {"position": "explicit position", "rgb": "colours alone"}

#: Fields of a request that do not depend on the video, in the order of the page.
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
class UsedUnit:
    """A feature unit as results name it."""

    video: str  # ``dataset/video``
    # backbone, digest, timestep, tap: feature, with the first eight digits of the request's digest
    backbone: str
    digest: str
    timestep: int
    tap: str
    form: str | None = None  # storage codec; None if the results do not record it
    # share of the clean sample in the power of the network's input, in [0, 1]; None if the results record none
    alpha_bar: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.alpha_bar is not None and not 0 <= self.alpha_bar <= 1:
            raise ConfigError(f"results record alpha_bar {self.alpha_bar} of {self.feature}, which is not in [0, 1]")

    @property
    def feature(self) -> str:
        """``backbone:timestep:tap``, the same for all videos."""
        return f"{self.backbone}:{self.timestep}:{self.tap}"

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """Video, backbone, digest, timestep and tap, by which a cache finds units of any form."""
        return self.video, self.backbone, self.digest, self.timestep, tap_name(self.tap)

    def matches(self, choice: FeatureChoice) -> bool:
        """Return whether the unit is one of those that a choice selects."""
        wanted = choice.backbone, choice.timestep, tap_name(choice.tap)
        return (self.backbone, *self.key[3:]) == wanted and self.digest.startswith((choice.digest or "")[:8])

    @classmethod
    def parse(cls, text: str, video: str | None = None, alpha_bar: float | None = None) -> "UsedUnit | None":
        """Parse a unit's label, as in ``ted.json``, or ``backbone@digest:timestep:tap`` of a video; None for others."""
        found = (_LABEL if video is None else _NOTATION).fullmatch(text)
        if found is None:
            return None
        names = {"backbone": found["backbone"], "digest": found["digest"][:8], "tap": found["tap"]}
        form = found["form"] or "float16" if video is None else None
        place = found["video"] if video is None else video
        return cls(video=place, timestep=int(found["timestep"]), form=form, alpha_bar=alpha_bar, **names)


class UnitIndex:
    """Looks up the units of results in a cache, or in none, which leaves most questions open."""

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache

    @cached_property
    def _entries(self) -> dict[tuple[str, str, str, int, str], list[Entry]]:
        found = defaultdict(list)
        for entry in self._cache.entries() if self._cache is not None else ():
            spec = entry.spec
            if entry.state == "complete":
                video = f"{spec.dataset}/{spec.video}"
                key = (video, spec.request.backbone, spec.digest()[:8], spec.timestep, tap_name(spec.tap))
                found[key].append(entry)
        return found

    @cached_property
    def _alpha_bars(self) -> dict[tuple[str, str, int], float]:
        """Noise levels by backbone, weights and timestep, which determine them."""
        specs = [entry.spec for entries in self._entries.values() for entry in entries]
        return {
            (spec.request.backbone, spec.request.weights, spec.timestep): spec.alpha_bar
            for spec in specs
            if spec.alpha_bar is not None
        }

    def find(self, used: UsedUnit) -> Unit | None:
        """Return a unit, in its most faithful form if the results name none; None if the cache does not have it."""
        entries = [entry for entry in self._entries.get(used.key, ()) if used.form in (None, entry.spec.form)]
        try:
            return next((entry.open() for entry in most_faithful(entries)), None)
        except CacheError:
            return None

    def alpha_bar(self, used: UsedUnit) -> float | None:
        """Return the share of the clean sample in the power of the network's input, in [0, 1].

        The results record it, or the cache does, for this unit or another with the same weights and timestep. None for
        features without noise, and if it is recorded nowhere.
        """
        unit = self.find(used) if used.alpha_bar is None else None
        if unit is None:
            return used.alpha_bar
        if unit.spec.alpha_bar is not None:
            return unit.spec.alpha_bar
        return self._alpha_bars.get((unit.request.backbone, unit.request.weights, unit.spec.timestep))

    def controls(self, units: Iterable[UsedUnit]) -> tuple[str, ...]:
        """Return which controls results from these units are; empty if all networks are trained and complete.

        The name of a backbone tells explicit position and colours; the cache's records tell untrained networks and
        disabled temporal layers.
        """
        kinds = set()
        for used in units:
            unit = self.find(used)
            if used.backbone in _NOTHING_LEARNED:
                kinds.add(_NOTHING_LEARNED[used.backbone])
            if unit is not None and unit.request.weights.startswith("random:"):
                kinds.add("untrained network")
            if unit is not None and unit.request.conditioning.get("temporal_layers") == "off":
                kinds.add("temporal layers off")
        return tuple(sorted(kinds))


@dataclass(frozen=True, kw_only=True)
class FeatureFacts:
    """A feature of results over all videos: its name, the controls that results with it are, and facts by name.

    The facts are what determined it, its noise level, the device that computed it, and what that took.
    """

    feature: str
    controls: tuple[str, ...]
    facts: Mapping[str, str]


def features_used(units: Iterable[UsedUnit], index: UnitIndex) -> list[FeatureFacts]:
    """Group units by feature and by the way it was computed, and summarize each group."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[UsedUnit, Unit | None]]] = defaultdict(list)
    for used in dict.fromkeys(units):
        unit = index.find(used)
        fields = () if unit is None else tuple((name, unit.spec.field_text(name)) for name in (*_FIELDS, "form"))
        groups[used.feature, fields].append((used, unit))
    return [
        FeatureFacts(
            feature=feature,
            controls=index.controls(used for used, _ in found),
            facts={name: text for name, text in _facts(dict(fields), found, index).items() if text},
        )
        for (feature, fields), found in groups.items()
    ]


def _facts(fields: dict[str, str], found: list[tuple[UsedUnit, Unit | None]], index: UnitIndex) -> dict[str, str]:
    units = [unit for _, unit in found if unit is not None]
    runs = [unit.run_record for unit in units]
    levels = sorted({level for used, _ in found if (level := index.alpha_bar(used)) is not None})

    def told(name: str) -> str:
        return ", ".join(dict.fromkeys(filter(None, (_text(run.get(name)) for run in runs))))

    def total(name: str) -> float:
        return sum(float(value) for run in runs if isinstance(value := run.get(name), int | float))

    seconds, frames = total("seconds"), int(total("frames_computed"))
    cost = {
        "videos in the cache": str(len(units)),
        "megabytes": f"{sum(unit.marker.total_bytes for unit in units) / 1e6:.2f}",
        "frames computed": str(frames),
        "seconds": f"{seconds:.1f}, which features of one run share",
        "frames per second": f"{frames / seconds:.2f}" if frames and seconds > 0 else "",
    }
    return {
        "videos": str(len({used.video for used, _ in found})),
        **fields,
        "alpha_bar": ", ".join(f"{level:.6g} (signal-to-noise ratio {level_text(level)})" for level in levels),
        **{name: told(name) for name in ("device", "started", "versions")},
        **(cost if units else {}),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {item}" for name, item in value.items())
    return "" if value is None else value if isinstance(value, str) else canonical_json(value).decode()
