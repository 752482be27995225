"""Which feature units results were made from, and what the cache tells about them: provenance, cost, controls."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from ...store import Cache, FeatureChoice, Unit
from ...store.choice import most_faithful
from ...store.entries import Entry
from ...store.errors import CacheError, ConfigError
from ...store.layout import tap_name

__all__ = ["Origins", "UsedUnit"]

_LABEL = re.compile(
    r"(?P<video>.+) (?P<backbone>\S+)@(?P<digest>[0-9a-f]{8}) t(?P<timestep>\d+) (?P<tap>\S+)(?: (?P<form>\S+))?"
)
_NOTATION = re.compile(r"(?P<backbone>[^@]+)@(?P<digest>[0-9a-f]+):(?P<timestep>\d+):(?P<tap>.+)")

#: Backbones that learn nothing: what results with their features are.
_NOTHING_LEARNED = {"position": "explicit position", "rgb": "colours alone"}


@dataclass(frozen=True, kw_only=True)
class UsedUnit:
    """A feature unit, as results name it.

    Attributes
    ----------
    video
        ``dataset/video``.
    backbone, digest, timestep, tap
        What it is; the digest's first eight digits.
    form
        How it is stored, where the results say so.
    alpha_bar
        Clean share of the power of what the network saw, where the results say so. It tells no units apart.
    """

    video: str
    backbone: str
    digest: str
    timestep: int
    tap: str
    form: str | None = None
    alpha_bar: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.alpha_bar is not None and not 0 <= self.alpha_bar <= 1:
            raise ConfigError(f"results record alpha_bar {self.alpha_bar} of {self.feature}: it is a share, 0 to 1")

    @property
    def feature(self) -> str:
        """``backbone:timestep:tap``: the same for all videos."""
        return f"{self.backbone}:{self.timestep}:{self.tap}"

    def fits(self, choice: FeatureChoice) -> bool:
        """Tell whether it is among the units that a choice means."""
        return (self.backbone, self.timestep, tap_name(self.tap)) == (
            choice.backbone,
            choice.timestep,
            tap_name(choice.tap),
        ) and self.digest.startswith((choice.digest or "")[:8])

    @classmethod
    def from_label(cls, label: str, alpha_bar: float | None = None) -> "UsedUnit | None":
        """Read a unit's label, as ``ted.json`` has it; None for something else."""
        found = _LABEL.fullmatch(label)
        if found is None:
            return None
        return cls(
            video=found["video"],
            backbone=found["backbone"],
            digest=found["digest"],
            timestep=int(found["timestep"]),
            tap=found["tap"],
            form=found["form"] or "float16",
            alpha_bar=alpha_bar,
        )

    @classmethod
    def from_notation(cls, dataset: str, video: str, text: str, alpha_bar: float | None = None) -> "UsedUnit | None":
        """Read ``backbone@digest:timestep:tap``, as the tables of sweeps have it; None for something else."""
        found = _NOTATION.fullmatch(text)
        if found is None:
            return None
        return cls(
            video=f"{dataset}/{video}",
            backbone=found["backbone"],
            digest=found["digest"][:8],
            timestep=int(found["timestep"]),
            tap=found["tap"],
            alpha_bar=alpha_bar,
        )


class Origins:
    """Looks units up in a cache.

    Parameters
    ----------
    cache
        The cache; None where there is none any more, which leaves most questions open.
    """

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache

    @cached_property
    def _entries(self) -> dict[tuple[str, str, str, int, str], list[Entry]]:
        found = defaultdict(list)
        for entry in self._cache.entries() if self._cache is not None else ():
            spec = entry.spec
            video = f"{spec.dataset}/{spec.video}"
            place = (video, spec.request.backbone, spec.digest()[:8], spec.timestep, tap_name(spec.tap))
            if entry.state == "complete":
                found[place].append(entry)
        return found

    def find(self, used: UsedUnit) -> Unit | None:
        """Return a unit; where its form is not told, the most faithful one. None where it is not in the cache."""
        place = (used.video, used.backbone, used.digest, used.timestep, tap_name(used.tap))
        entries = [entry for entry in self._entries.get(place, ()) if used.form in (None, entry.spec.form)]
        try:
            return next((entry.open() for entry in most_faithful(entries)), None)
        except CacheError:
            return None

    @cached_property
    def _levels(self) -> dict[tuple[str, str, int], float]:
        """Noise levels by backbone, weights and timestep: the schedule comes with the weights."""
        specs = [entry.spec for entries in self._entries.values() for entry in entries]
        return {
            (spec.request.backbone, spec.request.weights, spec.timestep): spec.alpha_bar
            for spec in specs
            if spec.alpha_bar is not None
        }

    def alpha_bar(self, used: UsedUnit) -> float | None:
        """Return the clean share of the power of what the network saw, in [0, 1].

        As the results record it, or the cache: of this unit, or of any other with the same weights and timestep. None
        for features without noise, and where neither knows it.
        """
        if used.alpha_bar is not None:
            return used.alpha_bar
        unit = self.find(used)
        if unit is None:
            return None
        if unit.spec.alpha_bar is not None:
            return unit.spec.alpha_bar
        return self._levels.get((unit.request.backbone, unit.request.weights, unit.spec.timestep))

    def controls(self, units: Iterable[UsedUnit]) -> tuple[str, ...]:
        """Say which controls results from these units are: none if they are of trained, whole networks.

        Explicit position is told by its name; an untrained network, and temporal layers that were left out, by what
        the cache records.
        """
        return tuple(sorted({kind for used in units for kind in self._kinds(used)}))

    def _kinds(self, used: UsedUnit) -> Collection[str]:
        kinds = {_NOTHING_LEARNED[used.backbone]} if used.backbone in _NOTHING_LEARNED else set()
        unit = self.find(used)
        if unit is not None:
            if unit.request.weights.startswith("random:"):
                kinds.add("untrained network")
            if unit.request.conditioning.get("temporal_layers") == "off":
                kinds.add("temporal layers off")
        return kinds
