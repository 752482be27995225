"""What a unit of affinities is: the features and the search that determine it, and their digest."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .durable import canonical_json
from .errors import ConfigError, SchemaError
from .kinds import AFFINITIES, check_kind
from .layout import SCHEMA_VERSION, UnitKind, affinity_folder

__all__ = ["AffinitySpec"]


@dataclass(frozen=True, kw_only=True)
class AffinitySpec:
    """One affinity unit: for every pixel of every frame of a video, the sources that a search found.

    Attributes
    ----------
    dataset, video
        Names.
    features
        Content hash of each feature unit, in the order of the parts.
    feature_labels
        Label of each feature unit, for people.
    frame_count
        Number of frames.
    grid
        (y, x) cells of the grid of pixels.
    slots
        The most sources that a pixel can have: the length of the last axis of sources and cosines.
    search
        What was searched for, as JSON values: ``radius``, ``top_k``, ``fusions`` (a list of ``{weights, context,
        renormalize}``) and what else the search depends on. ``components`` is the number of scores of a source, if it
        differs from the number of features.

    Raises
    ------
    ConfigError
        For lengths and sizes that make no sense.
    """

    kind: ClassVar[UnitKind] = AFFINITIES

    dataset: str
    video: str
    features: tuple[str, ...]
    feature_labels: tuple[str, ...]
    frame_count: int
    grid: tuple[int, int]
    slots: int
    search: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.features or len(self.features) != len(self.feature_labels):
            raise ConfigError("affinities are of one feature unit or more, each with its label")
        sizes = (self.frame_count, self.slots, *self.grid)
        if len(sizes) != 4 or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ConfigError(
                f"affinities need frames, a grid and slots, not {self.frame_count}, {self.grid} and {self.slots}"
            )
        if not self.search["fusions"]:
            raise ConfigError("affinities are of a search for one fusion or more")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array, with the frames as first axis: see docs/reference/storage-format.md."""
        pixels = self.grid[0] * self.grid[1]
        return {
            "sources": (self.frame_count, pixels, self.slots),
            "cosines": (self.frame_count, self.search.get("components", len(self.features)), pixels, self.slots),
            "bounds": (self.frame_count, len(self.search["fusions"]), pixels),
        }

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of what determines the values, 64 hex digits."""
        determining = {
            "features": list(self.features),
            "frame_count": self.frame_count,
            "grid": list(self.grid),
            "search": dict(self.search),
        }
        return hashlib.sha256(canonical_json(determining)).hexdigest()

    def folder(self, root: Path) -> Path:
        """Return the unit's folder in a cache."""
        return affinity_folder(root, dataset=self.dataset, video=self.video, digest=self.digest())

    @property
    def label(self) -> str:
        """Name for messages: ``davis/camel affinities@1a2b3c4d``."""
        return f"{self.dataset}/{self.video} affinities@{self.digest()[:8]}"

    @property
    def summary(self) -> str:
        """What was searched for, in words: ``radius 15 top-10 context 28, 11 fusions of svd@... t300 up_blocks[2]``."""
        search, fusions = self.search, self.search["fusions"]
        context = max(fusion["context"] for fusion in fusions)
        # The labels of features of this video need not repeat whose they are.
        parts = " + ".join(label.removeprefix(f"{self.dataset}/{self.video} ") for label in self.feature_labels)
        return (
            f"radius {search['radius']} top-{search['top_k']}{' per frame' if search.get('per_frame') else ''} "
            f"context {context}, {len(fusions)} fusion{'s' if len(fusions) > 1 else ''} of {parts}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what the unit's group carries in its attribute ``ted`` (docs/reference/storage-format.md)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind.name,
            "dataset": self.dataset,
            "video": self.video,
            "features": list(self.features),
            "feature_labels": list(self.feature_labels),
            "frame_count": self.frame_count,
            "grid": list(self.grid),
            "slots": self.slots,
            "search": dict(self.search),
            "digest": self.digest(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> "AffinitySpec":
        """Build a spec from a group's attribute ``ted``.

        Raises
        ------
        SchemaError
            When the schema is newer than this version, or the record is none of an affinity unit.
        CorruptUnitError
            When it is one of another kind of unit.
        """
        check_kind(values, cls.kind, where)
        try:
            spec = cls(
                dataset=values["dataset"],
                video=values["video"],
                features=tuple(values["features"]),
                feature_labels=tuple(values["feature_labels"]),
                frame_count=values["frame_count"],
                grid=tuple(values["grid"]),
                slots=values["slots"],
                search=values["search"],
            )
            spec.summary, spec.folder(Path())  # whether they can be told
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise SchemaError(f"{where} carries no readable description of an affinity unit: {error!r}") from error
        return spec
