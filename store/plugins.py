"""Plug-ins: objects that installed packages offer as entry points, and options of what is chosen by a name."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

_T = TypeVar("_T")


def entry_points(*, group: str, name: str | None = None) -> metadata.EntryPoints:
    """Return the entry points of a group, optionally of one name.

    `importlib.metadata` reads the records of all installed packages each time, which takes milliseconds. Here they are
    read again only when `sys.path` or one of its folders has changed.
    """
    found = _installed(group, tuple((folder, _changed(folder)) for folder in sys.path))
    return found if name is None else found.select(name=name)


@lru_cache(maxsize=32)
def _installed(group: str, _path: tuple[tuple[str, int], ...]) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


def _changed(folder: str) -> int:
    with contextlib.suppress(OSError):
        return Path(folder).stat().st_mtime_ns
    return 0


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


def read_options(what: str, text: str, cls: type[_T]) -> _T:
    """Create a dataclass from ``option=value,option=value``; every field has a default of type int, float, bool or str.

    `what` names the thing in messages. Raises ConfigError for an unknown option (the message lists the known ones), and
    for a value of the wrong type.
    """
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    options: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        option, equals, value = (part.strip() for part in item.partition("="))
        if not equals or option not in defaults:
            known = f"its options are {', '.join(defaults)}" if defaults else "it has no options"
            raise ConfigError(f"{what} has no option {item!r}; {known}")
        kind = type(defaults[option])
        try:
            options[option] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"option {option} of {what} is of type {kind.__name__}, not {value!r}") from error
    return cls(**options)
