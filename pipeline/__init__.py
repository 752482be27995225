"""Commands, tasks, datasets, metrics, runs over many videos, and `track`: one call for one video.

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tracking import Tracks, track

__all__ = ["Tracks", "track"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ted-tracking")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import tracking

    return getattr(tracking, name)
