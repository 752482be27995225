"""Finding the features of a video that pictures are made of."""

from collections.abc import Sequence

from ...store import Cache, FeatureChoice, Unit
from ..datasets.video import Video
from ..propagation import warn_of_other_settings

__all__ = ["find_units"]


def find_units(
    cache: Cache, video: Video, parts: Sequence[tuple[FeatureChoice, float]], prefer: Sequence[tuple[str, str]]
) -> list[tuple[Unit, float]]:
    """Open the units of a video's frames that are meant, as propagation does; those of weight 0 need not exist.

    Raises
    ------
    FrameError
        For frames that cannot be read.
    CacheError
        For features that are absent, of other frames, incomplete or damaged.
    """
    frames = video.frames.digest()
    units = [
        (cache.find(video.dataset, video.name, choice, frames=frames, prefer=prefer), weight)
        for choice, weight in parts
        if weight > 0
    ]
    for unit, _ in units:
        warn_of_other_settings(unit, prefer)
    return units
