"""Units as they are found on disk, complete or not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from .affinities import AffinitySpec
from .affinity_unit import AffinityUnit
from .errors import CacheError, IncompleteUnitError
from .integrity import looks_whole
from .marker import read_marker
from .request import UnitSpec
from .stored import SpecT
from .unit import Unit

__all__ = ["AffinityEntry", "Entry", "unit_state"]


@dataclass(frozen=True, kw_only=True)
class _Found(Generic[SpecT]):
    folder: Path
    spec: SpecT
    state: str
    bytes: int


class Entry(_Found[UnitSpec]):
    """One feature unit as found on disk, complete or not: `folder`, `spec`, `state` and `bytes`.

    The state is ``"complete"``, ``"incomplete"``, or ``"damaged"`` (the marker is unreadable, or promised files are
    absent or of another size); the bytes are those that its marker promises, 0 without one.
    """

    def open(self) -> Unit:
        """Open the unit for reading."""
        return Unit(self.folder)


class AffinityEntry(_Found[AffinitySpec]):
    """One affinity unit as found on disk, complete or not; see `Entry`."""

    def open(self) -> AffinityUnit:
        """Open the unit for reading."""
        return AffinityUnit(self.folder)


def unit_state(folder: Path) -> tuple[str, int]:
    """Return a unit's state, as an entry gives it, and the bytes that its marker promises (0 without one)."""
    try:
        marker = read_marker(folder)
    except IncompleteUnitError:
        return "incomplete", 0
    except CacheError:
        return "damaged", 0
    return ("complete" if looks_whole(folder, marker) else "damaged"), marker.total_bytes
