"""Features of a cache, grouped over videos by how they were computed, for ablations."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...store import Entry, FeatureChoice, FeatureRequest
from ...store.errors import ConfigError
from ..datasets.video import Video
from ..reports.provenance import UnitIndex, UsedUnit
from ..runs.extracting.noise_level import snr_db
from .collection import Collection

#: Fields of a request that do not depend on the video.
_FIELDS = tuple(
    item.name
    for item in dataclasses.fields(FeatureRequest)
    if item.name not in ("video", "frames", "backbone", "frame_size")
)

#: Largest length of a value in a title; digests are longer.
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A backbone with its weights and settings: one way to compute features."""

    title: str  # readable title, unique in the cache
    backbone: str  # name of the backbone
    kind: Literal["image", "video"]  # ``"video"`` if the network's input is a clip, ``"image"`` if it is a single frame
    # kinds of control, such as ``"untrained network"``; empty for a trained, complete network
    controls: tuple[str, ...]
    timestep_taps: tuple[tuple[int, str], ...]  # (timestep, tap) pairs that all videos have, in rising order
    # digest of the request, by (dataset, video)
    digests: Mapping[tuple[str, str], str] = field(compare=False, repr=False)
    # share of the clean sample in the power of the network's input, in [0, 1], by timestep; only if recorded
    alpha_bars: Mapping[int, float] = field(compare=False, repr=False)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Timesteps, rising."""
        return tuple(dict.fromkeys(timestep for timestep, _ in self.timestep_taps))

    @property
    def taps(self) -> tuple[str, ...]:
        """Taps, in alphabetical order."""
        return tuple(sorted({tap for _, tap in self.timestep_taps}))

    def feature(self, timestep: int, tap: str) -> "Feature":
        """Return the feature of a timestep and a tap.

        Raises
        ------
        ConfigError
            If not all videos have it.
        """
        if (timestep, tap) not in self.timestep_taps:
            there = ", ".join(f"{time}:{name}" for time, name in self.timestep_taps) or "nothing"
            raise ConfigError(f"not all videos have {timestep}:{tap} of {self.title}; they have {there}")
        return Feature(recipe=self, timestep=timestep, tap=tap)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A recipe at one timestep and tap: one unit per video."""

    recipe: Recipe
    timestep: int
    tap: str

    def __str__(self) -> str:
        return f"{self.recipe.title}, {self.timestep}, {self.tap}"

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio of the network's input in dB; None without noise, or if it is not recorded."""
        level = self.recipe.alpha_bars.get(self.timestep)
        return None if level is None else snr_db(level)

    def choice(self, video: Video) -> FeatureChoice:
        """Return the choice that selects the unit of a video."""
        digest = self.recipe.digests[video.dataset, video.name]
        return FeatureChoice(backbone=self.recipe.backbone, timestep=self.timestep, tap=self.tap, digest=digest)


def find_recipes(collection: Collection) -> list[Recipe]:
    """Return the recipes that all videos of a collection share: controls last, video backbones before others."""
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    origins = UnitIndex(collection.cache)
    for video in collection.videos:
        for entry in collection.cache.entries(dataset=video.dataset, video=video.name):
            request = entry.spec.request
            if entry.state == "complete" and not entry.spec.codec.is_staging:
                made = (request.backbone, str(min(request.frame_size)), *map(request.field_text, _FIELDS))
                groups[made].append(entry)
    titles = _titles({made: _title(entries[0], origins) for made, entries in groups.items()})
    found = [_recipe(titles[made], entries, len(collection.videos), origins) for made, entries in groups.items()]
    return sorted(
        (recipe for recipe in found if recipe.timestep_taps),
        key=lambda recipe: (bool(recipe.controls), recipe.kind != "video", recipe.title),
    )


def _recipe(title: str, entries: Sequence[Entry], videos: int, origins: UnitIndex) -> Recipe:
    request = entries[0].spec.request
    having: dict[tuple[int, str], set[tuple[str, str]]] = defaultdict(set)
    for entry in entries:
        having[entry.spec.timestep, entry.spec.tap].add((entry.spec.dataset, entry.spec.video))
    return Recipe(
        title=title,
        backbone=request.backbone,
        kind="video" if request.clip_length > 1 else "image",
        controls=_controls(entries[0], origins),
        timestep_taps=tuple(sorted(pair for pair, some in having.items() if len(some) == videos)),
        digests={(entry.spec.dataset, entry.spec.video): entry.spec.request.digest() for entry in entries},
        # The same for all videos: weights and timestep determine it.
        alpha_bars={entry.spec.timestep: entry.spec.alpha_bar for entry in entries if entry.spec.alpha_bar is not None},
    )


def _controls(entry: Entry, origins: UnitIndex) -> tuple[str, ...]:
    used = UsedUnit.parse(entry.spec.label)
    return () if used is None else origins.controls([used])


def _title(entry: Entry, origins: UnitIndex) -> str:
    request = entry.spec.request
    learned = request.weights != "none"  # the name of a backbone without weights says what control it is
    return ", ".join((request.backbone, *(_controls(entry, origins) if learned else ())))


def _titles(plain: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Append the values that tell equal titles apart."""
    names = ("backbone", "short side", *_FIELDS)
    titles = {}
    for made, title in plain.items():
        others = [other for other, same in plain.items() if same == title and other != made]
        telling = [index for index, value in enumerate(made) if any(other[index] != value for other in others)]
        more = [f"{names[index].replace('_', ' ')} {made[index][:_SHOWN]}" for index in telling]
        titles[made] = ", ".join((title, *more))
    return titles
