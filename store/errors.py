"""The error tree. Every error that a user can cause derives from `TedError` and says what to do about it."""

__all__ = [
    "CacheError",
    "ClaimedError",
    "ConfigError",
    "CorruptUnitError",
    "FrameError",
    "IncompleteUnitError",
    "LabelError",
    "SchemaError",
    "TedError",
    "UnitNotFoundError",
    "WeightsError",
]


class TedError(Exception):
    """Base of all errors with a message for the user: what is wrong, where, and what to run or change."""


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
    """No unit (or more than one) in the cache fits what was asked for."""


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
        For the user.
    host, pid
        Which process, where that is known.
    """

    def __init__(self, message: str, *, host: str | None = None, pid: int | None = None) -> None:
        super().__init__(message)
        self.host = host
        self.pid = pid
