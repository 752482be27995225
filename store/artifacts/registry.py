"""Registry of the kinds of units, and lookup of a folder's kind."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, SchemaError
from ..layout import ArrayLayout, UnitLayout
from ..plugins import load_offers, offered_names

if TYPE_CHECKING:
    from ..stored import StoredUnit

_GROUP = "ted.artifacts"


@dataclass(frozen=True, kw_only=True)
class ArtifactKind:
    """A kind of units. Each unit belongs to one video.

    Units are stored in ``VIDEO.zarr/NAME/DIGEST``, where DIGEST is the first 8 hex digits of the unit's digest. A
    plug-in creates one object, and offers it as an entry point of the group ``ted.artifacts`` with the same name.

    Attributes
    ----------
    name
        Name on disk: lower-case letters, digits, ``-`` and ``_``, beginning with a letter.
    arrays
        Arrays of a unit. An array whose first axis is ``"frame"`` has one chunk per frame; any other is one chunk.
    maker
        The process that makes such units, for messages: ``"training"``.
    """

    name: str
    arrays: tuple[ArrayLayout, ...] = field(default=())
    maker: str = "writer"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", self.name):
            raise ConfigError(f"{self.name!r} is no name of a kind: use lower-case letters, digits, - and _")

    @property
    def unit_type(self) -> "type[StoredUnit[Any]]":
        """Class of complete units; its constructor takes the unit's folder."""
        from .generic import Artifact

        return Artifact

    @property
    def pattern(self) -> str:
        """Glob pattern of the units' folders, relative to the video's folder."""
        return f"{self.name}/[!.]*"

    def is_at(self, unit: Path) -> bool:
        """Tell from its path in the video's hierarchy whether a folder holds a unit of this kind."""
        return unit.parent.name == self.name and unit.parent.parent.name.endswith(".zarr")

    def layout_at(self, unit: Path) -> UnitLayout:
        """Return the layout of a unit of this kind, from its path alone."""
        return UnitLayout(arrays=self.arrays, maker=self.maker)


# Kinds known in this process, and the names of the kinds that are listed first.
_KINDS: dict[str, ArtifactKind] = {}
_FIRST = ("features", "affinities")


def register_artifact(kind: ArtifactKind) -> None:
    """Register a kind of units in this process.

    Raises
    ------
    ConfigError
        When the name is taken.
    """
    if _KINDS.setdefault(kind.name, kind) != kind:
        raise ConfigError(f"there is a kind {kind.name!r} of units already; choose another name")


def _kinds() -> dict[str, ArtifactKind]:
    """Return the kinds known in this process; the built-in ones register themselves when they are imported."""
    from . import affinities, features  # noqa: F401

    return _KINDS


def artifact_kind(name: str) -> ArtifactKind:
    """Return a kind by its name, or raise SchemaError; kinds that installed packages offer are imported on demand."""
    known = _kinds()
    if name not in known:
        for kind in load_offers(_GROUP, lambda offered: offered == name, ArtifactKind):
            register_artifact(kind)
    if name not in known:
        raise SchemaError(f"units of the kind {name!r} are unknown here: install the plug-in that offers them")
    return known[name]


def artifact_kinds() -> Iterator[ArtifactKind]:
    """Yield all kinds: features, affinities, then those of plug-ins."""
    names = [*_FIRST, *sorted({*_kinds(), *offered_names(_GROUP)} - set(_FIRST))]
    yield from map(artifact_kind, names)


def kind_at(unit: Path) -> ArtifactKind:
    """Return the kind of a unit, from its path in a video's hierarchy; for a copy elsewhere, from its arrays.

    Raises
    ------
    SchemaError
        When the path belongs to an unknown kind.
    """
    unit = unit.absolute()
    known = _kinds()
    for kind in known.values():
        if kind.is_at(unit):
            return kind
    if unit.parent.parent.name.endswith(".zarr"):
        return artifact_kind(unit.parent.name)
    features = known[_FIRST[0]]
    others = (kind for kind in known.values() if kind is not features)
    return next((kind for kind in others if (unit / kind.layout_at(unit).records).is_dir()), features)


def layout_at(unit: Path) -> UnitLayout:
    """Return the layout of the unit in a folder; see `kind_at`."""
    return kind_at(unit).layout_at(unit)
