"""A cache together with the videos that it is of."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...store import Cache, open_cache
from ...store.errors import ConfigError
from ..datasets.sources import Selection, Source, open_sources
from ..datasets.video import Video

__all__ = ["Collection", "open_collection"]


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What a notebook works on.

    Attributes
    ----------
    cache
        The features.
    videos
        The videos that they are of.
    folder
        For what a notebook writes: pictures, the journal of its sweeps.
    """

    cache: Cache
    videos: tuple[Video, ...]
    folder: Path


def open_collection(
    cache: Path | str, source: Path | str, *, videos: Sequence[str] = (), folder: Path | None = None
) -> Collection:
    """Open a cache, and those videos of a source that it has features of.

    Parameters
    ----------
    cache
        Folder of the cache.
    source
        Where the videos are, as `ted propagate` takes it: the root of a dataset, a folder of frames, a video file.
    videos
        Names of videos; empty for all.
    folder
        For what is written; by default a new temporary one, which is left to the system to remove.

    Raises
    ------
    CacheError
        When there is no such cache.
    ConfigError
        When the source is none, or the cache has no features of its videos.
    """
    opened = open_cache(cache)
    known = set(opened.videos())
    found = open_sources([Source(path=Path(source))], Selection(videos=tuple(videos)))
    chosen = tuple(video for video in found if (video.dataset, video.name) in known)
    if not chosen:
        raise ConfigError(
            f"{opened.root} has no features of the videos of {source}: extract them with `ted extract {source}`"
        )
    return Collection(cache=opened, videos=chosen, folder=folder or Path(tempfile.mkdtemp(prefix="ted-notebook-")))
