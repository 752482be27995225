"""Registry of noisings, which turn a clean clip into a network's noisy input. Entry points may add more."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ...store.errors import ConfigError
from ...store.plugins import load_offers, offered_names, read_options

if TYPE_CHECKING:
    from .base import Noising

__all__ = ["noising_names", "parse_noising", "register_noising"]

#: Group of entry points by which other packages add noisings: a name, and ``module:Class``.
_GROUP = "ted.noisings"

#: ``module:Class`` by name, or the class itself if `register_noising` added it.
_NOISINGS: dict[str, str | type[Noising]] = {
    "random": f"{__package__}.closed_form:RandomDraws",
    "none": f"{__package__}.closed_form:NoNoise",
    "ddim-inversion": f"{__package__}.ddim_inversion:DdimInversion",
}


def noising_names() -> list[str]:
    """Return the names of all noisings; those of other packages come last."""
    return list(dict.fromkeys([*_NOISINGS, *offered_names(_GROUP)]))


def register_noising(cls: type[Noising]) -> None:
    """Register a noising under its `name` in this process.

    Raises
    ------
    ConfigError
        When the name is taken.
    """
    if _NOISINGS.setdefault(cls.name, cls) is not cls:
        raise ConfigError(f"there is a noising {cls.name!r} already; choose another name")


def parse_noising(text: str) -> Noising:
    """Create a noising from ``NAME`` or ``NAME:option=value,option=value``.

    Raises
    ------
    ConfigError
        For an unknown name or option (the message lists the known ones), and for a value of the wrong type.
    """
    name, _, rest = text.partition(":")
    return read_options(f"noising {name!r}", rest, _noising_class(name))


def _noising_class(name: str) -> type[Noising]:
    from .base import Noising

    found = _NOISINGS.get(name)
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = getattr(importlib.import_module(module), attribute)
    for offer in load_offers(_GROUP, lambda offered: offered == name, type) if found is None else ():
        if not (issubclass(offer, Noising) and offer.name == name):
            raise ConfigError(f"{offer.__module__}.{offer.__name__} is offered as noising {name!r}, but is none")
        register_noising(offer)
        found = offer
    if found is None:
        raise ConfigError(f"unknown noising {name!r}; there are: {', '.join(noising_names())}")
    assert isinstance(found, type)
    return found
