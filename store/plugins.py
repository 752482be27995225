"""Plug-ins: objects that installed packages offer as entry points."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from .errors import ConfigError

_T = TypeVar("_T")


def offered_names(group: str) -> list[str]:
    """Return the names in a group of entry points, without importing anything."""
    return sorted({offer.name for offer in entry_points(group=group)})


def load_offers(group: str, wanted: Callable[[str], bool], base: type[_T]) -> list[_T]:
    """Import the entry points of a group, such as ``"ted.artifacts"``, whose names a predicate accepts.

    Raises ConfigError when an entry point cannot be imported or is not an instance of `base`.
    """
    found = []
    for offer in entry_points(group=group):
        if not wanted(offer.name):
            continue
        try:
            item = offer.load()
        except Exception as error:
            raise ConfigError(f"the plug-in {offer.name!r} ({offer.value}) cannot be imported: {error!r}") from error
        if not isinstance(item, base):
            raise ConfigError(f"the plug-in {offer.name!r} ({offer.value}) is no {base.__name__}")
        found.append(item)
    return found
