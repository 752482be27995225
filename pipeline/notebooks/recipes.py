"""How the features of a cache were made, whatever the video: what an ablation compares."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...store import FeatureChoice, FeatureRequest
from ...store.entries import Entry
from ...store.errors import ConfigError
from ..datasets.video import Video
from ..reports.provenance import UnitIndex, UsedUnit
from ..runs.extracting.noise_level import snr_db
from .collection import Collection

__all__ = ["Feature", "Recipe", "find_recipes"]

#: Fields of a request that say how features were made, and not of what.
_FIELDS = tuple(
    item.name
    for item in dataclasses.fields(FeatureRequest)
    if item.name not in ("video", "frames", "backbone", "frame_size")
)

#: Digits of a value that tells two titles apart: a digest is long.
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way in which features were made: a backbone, its weights, and all settings.

    Attributes
    ----------
    title
        For people; no other recipe of the cache has it.
    backbone
        Its name.
    kind
        Whether the network saw a clip (``"video"``) or one frame (``"image"``).
    controls
        What controls results with it are (``"untrained network"``); empty for a trained, whole network.
    places
        The (timestep, tap) that all videos have, rising.
    digests
        Of the requests, by (dataset, video).
    alpha_bars
        Clean share of the power of what the network saw, by timestep; without those that the cache does not record.
    """

    title: str
    backbone: str
    kind: Literal["image", "video"]
    controls: tuple[str, ...]
    places: tuple[tuple[int, str], ...]
    digests: Mapping[tuple[str, str], str] = field(compare=False, repr=False)
    alpha_bars: Mapping[int, float] = field(compare=False, repr=False)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Timesteps, rising."""
        return tuple(dict.fromkeys(timestep for timestep, _ in self.places))

    @property
    def taps(self) -> tuple[str, ...]:
        """Taps, in alphabetical order."""
        return tuple(sorted({tap for _, tap in self.places}))

    def feature(self, timestep: int, tap: str) -> "Feature":
        """Name the feature of a timestep and a tap.

        Raises
        ------
        ConfigError
            When not all videos have it.
        """
        if (timestep, tap) not in self.places:
            there = ", ".join(f"{place[0]}:{place[1]}" for place in self.places) or "nothing"
            raise ConfigError(f"not all videos have {timestep}:{tap} of {self.title}; they have {there}")
        return Feature(recipe=self, timestep=timestep, tap=tap)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A recipe at one timestep and tap: one unit of each video."""

    recipe: Recipe
    timestep: int
    tap: str

    def __str__(self) -> str:
        return f"{self.recipe.title}, {self.timestep}, {self.tap}"

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio of what the network saw, in dB; None without noise, or where it is not recorded."""
        level = self.recipe.alpha_bars.get(self.timestep)
        return None if level is None else snr_db(level)

    def choice(self, video: Video) -> FeatureChoice:
        """Return what finds the unit of a video."""
        digest = self.recipe.digests[video.dataset, video.name]
        return FeatureChoice(backbone=self.recipe.backbone, timestep=self.timestep, tap=self.tap, digest=digest)


def find_recipes(collection: Collection) -> list[Recipe]:
    """List how the features of a collection were made: first what is no control, and video backbones before others.

    Only what all videos have counts.
    """
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
        (recipe for recipe in found if recipe.places),
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
        places=tuple(sorted(place for place, some in having.items() if len(some) == videos)),
        digests={(entry.spec.dataset, entry.spec.video): entry.spec.request.digest() for entry in entries},
        # Weights and timestep determine it, so one video's unit tells of all.
        alpha_bars={entry.spec.timestep: entry.spec.alpha_bar for entry in entries if entry.spec.alpha_bar is not None},
    )


def _controls(entry: Entry, origins: UnitIndex) -> tuple[str, ...]:
    used = UsedUnit.from_label(entry.spec.label)
    return () if used is None else origins.controls([used])


def _title(entry: Entry, origins: UnitIndex) -> str:
    request = entry.spec.request
    learned = request.weights != "none"  # a backbone without weights is called what it is
    return ", ".join((request.backbone, *(_controls(entry, origins) if learned else ())))


def _titles(plain: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Add to titles that are not unique the values that tell them apart."""
    names = ("backbone", "short side", *_FIELDS)
    titles = {}
    for made, title in plain.items():
        others = [other for other, same in plain.items() if same == title and other != made]
        telling = [place for place, value in enumerate(made) if any(other[place] != value for other in others)]
        more = [f"{names[place].replace('_', ' ')} {made[place][:_SHOWN]}" for place in telling]
        titles[made] = ", ".join((title, *more))
    return titles
