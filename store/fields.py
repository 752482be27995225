"""Fields of descriptions on disk, checked for type and range, since caches may come from strangers."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError, CorruptUnitError, Hint, SchemaError
from .layout import SCHEMA_VERSION

#: Largest number of frames, pixels of a side, cells or channels that a description may name.
MOST = 2**31 - 1


class Fields:
    """The fields of a JSON object; ValueError unless `values` is a mapping.

    All methods raise ValueError for a field that is missing, of another type, or out of range.
    """

    def __init__(self, values: Any) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"an object is expected, not {values!r:.80}")
        self._values = values

    def get(self, key: str) -> Any:
        """Return a field as it is."""
        if key not in self._values:
            raise ValueError(f"{key} is missing")
        return self._values[key]

    def has(self, key: str) -> bool:
        """Tell whether the field exists and is not null."""
        return self._values.get(key) is not None

    def text(self, key: str) -> str:
        """Return a string that is not empty."""
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key} must be text, not {value!r:.80}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{key} must be a list of texts, not {value!r:.80}")
        return tuple(value)

    def integer(self, key: str, low: int = 0, high: int = MOST) -> int:
        """Return an integer in ``low..high``."""
        return _integer(key, self.get(key), low, high)

    def pair(self, key: str) -> tuple[int, int]:
        """Return a list of two positive integers, such as (height, width)."""
        value = self.get(key)
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f"{key} must be two numbers, not {value!r:.80}")
        return _integer(key, value[0], 1), _integer(key, value[1], 1)

    def fraction(self, key: str) -> float:
        """Return a number in [0, 1]."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{key} must be a number from 0 to 1, not {value!r:.80}")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Return an object."""
        value = self.get(key)
        if not isinstance(value, dict):
            raise ValueError(f"{key} must be an object, not {value!r:.80}")
        return value


def _integer(key: str, value: Any, low: int = 0, high: int = MOST) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{key} must be a whole number from {low} to {high}, not {value!r:.80}")
    return value


@contextlib.contextmanager
def readable(where: Path) -> Iterator[None]:
    """Turn errors about fields into a SchemaError that names the unit."""
    try:
        yield
    except (ValueError, ConfigError) as error:
        raise SchemaError(f"{where} carries no readable description of a unit: {error}") from error


def check_schema(version: Any, where: Path) -> None:
    """Raise SchemaError if a version of the on-disk format is invalid or newer than this program."""
    if isinstance(version, bool) or not isinstance(version, int) or version > SCHEMA_VERSION:
        raise SchemaError(
            f"{where} is written in cache format {version!r:.40}; this version reads up to {SCHEMA_VERSION}: "
            "upgrade ted-tracking"
        )


def check_kind(values: Mapping[str, Any], name: str, maker: str, where: Path) -> None:
    """Raise SchemaError for a description in a newer format, and CorruptUnitError for one of another kind."""
    check_schema(values.get("schema_version"), where)
    if values.get("kind", name) != name:
        raise CorruptUnitError(
            f"{where} holds {values['kind']!r:.40} where {name} belong", hint=Hint("repair", {"maker": maker})
        )
