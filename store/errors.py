"""The error tree: every error that a user can cause derives from `TedError`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CacheError",
    "ClaimedError",
    "ConfigError",
    "CorruptUnitError",
    "FrameError",
    "Hint",
    "IncompleteUnitError",
    "LabelError",
    "SchemaError",
    "TedError",
    "UnitNotFoundError",
    "WeightsError",
]


@dataclass(frozen=True)
class Hint:
    """An action that helps against an error, as data.

    The packages below the command line name no command and no option in their messages. They name an action, and a
    front end translates it: `ted.pipeline.choices.hints` into a command to type, a notebook into a call.

    Attributes
    ----------
    action
        Name of the action, for example ``"repair"``.
    data
        What the action needs to know, for example ``{"maker": "extraction"}``. Plain values, so that an error can be
        pickled.
    """

    action: str
    data: Mapping[str, Any] = field(default_factory=dict)


class TedError(Exception):
    """Base of all errors with a message for the user: what is wrong, and where.

    Parameters
    ----------
    *args
        The message.
    hint
        What to do about it, if that is an action of this program.
    """

    def __init__(self, *args: object, hint: Hint | None = None) -> None:
        super().__init__(*args)
        self.hint = hint


class ConfigError(TedError):
    """An option, preset, configuration file or combination of them that makes no sense."""


class FrameError(TedError):
    """A video, folder of frames or image that cannot be read or used."""


class LabelError(TedError):
    """A mask or other label that cannot be read or does not fit its video."""


class WeightsError(TedError):
    """Model weights that are absent, incomplete or not of the expected architecture."""


class CacheError(TedError):
    """Base of errors about the feature cache."""


class UnitNotFoundError(CacheError):
    """No unit, or more than one, in the cache fits the choice."""


class IncompleteUnitError(CacheError):
    """A unit without its completion marker: extraction has not finished."""


class CorruptUnitError(CacheError):
    """A unit whose files differ from what its completion marker promises."""


class SchemaError(CacheError):
    """A cache written in a format that this version does not read."""


class ClaimedError(CacheError):
    """Another process is writing this unit.

    Parameters
    ----------
    message
        The message.
    host, pid
        Host and number of that process; None where they are not known.
    hint
        What to do about it.
    """

    def __init__(
        self, message: str, *, host: str | None = None, pid: int | None = None, hint: Hint | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.pid = pid
