"""The error tree: every error that a user can cause derives from `TedError`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hint:
    """An action that helps against an error, as data.

    Messages of the packages below the command line contain no commands or options. They name an action, which a front
    end translates: `ted.pipeline.choices.hints` into a command to type, a notebook into a call.

    Attributes
    ----------
    action
        Name of the action, for example ``"repair"``.
    data
        Parameters of the action, for example ``{"maker": "extraction"}``; plain values, so that errors can be pickled.
    """

    action: str
    data: Mapping[str, Any] = field(default_factory=dict)


class TedError(Exception):
    """Base of all errors with a message for the user, which says what is wrong and where.

    Parameters
    ----------
    *args
        The message.
    hint
        Action that helps, if there is one.
    """

    def __init__(self, *args: object, hint: Hint | None = None) -> None:
        super().__init__(*args)
        self.hint = hint


class ConfigError(TedError):
    """An invalid option, preset, configuration file or combination of them."""


class FrameError(TedError):
    """A video, folder of frames or image that cannot be read or used."""


class LabelError(TedError):
    """A mask or other label that cannot be read or does not fit its video."""


class WeightsError(TedError):
    """Model weights that are absent, incomplete or not of the expected architecture."""


class CacheError(TedError):
    """Base of errors about the feature cache."""


class UnitNotFoundError(CacheError):
    """No unit of the cache fits the choice, or more than one does."""


class IncompleteUnitError(CacheError):
    """A unit without its completion marker: extraction has not finished."""


class CorruptUnitError(CacheError):
    """A unit whose files differ from the records in its completion marker."""


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
        Action that helps, if there is one.
    """

    def __init__(
        self, message: str, *, host: str | None = None, pid: int | None = None, hint: Hint | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.pid = pid
