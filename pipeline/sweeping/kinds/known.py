"""The kinds that sweeps know: by how videos are scored, and by what a journal holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ....store.errors import ConfigError
from ...datasets.point_queries import QueryMode
from ...datasets.video import Video
from .base import Kind, Score
from .joints import Joints, JointScore
from .mask_scores import MaskScore
from .masks import Masks
from .parts import Parts, PartScore
from .points import Points, PointScore

__all__ = ["kind_of", "read_score"]

#: What a score in a journal begins with.
_SCORES: Mapping[str, type[Score]] = {"parts": PartScore, "pck": JointScore, "tapvid": PointScore}


def kind_of(videos: Sequence[Video], *, metrics: str | None = None, query_mode: QueryMode = "first") -> Kind:
    """Return how some videos are measured.

    Parameters
    ----------
    videos
        At least one.
    metrics
        ``"jf"`` or ``"j"``, for masks alone; J and F by default.
    query_mode
        Which points are given; of no meaning for others.

    Raises
    ------
    ConfigError
        When they are measured in different ways or one that sweeps do not know, or `metrics` is not for them.
    """
    kinds: Mapping[str, Callable[[], Kind]] = {
        "davis": lambda: Masks(contours=metrics != "j"),
        "objects": lambda: Masks(contours=metrics != "j"),
        "parts": Parts,
        "pck": Joints,
        "tapvid": lambda: Points(mode=query_mode),
    }
    for video in videos:
        if video.scoring not in kinds:
            raise ConfigError(
                f"a sweep does not know how video {video.name!r} is scored ({video.scoring}): run `ted propagate` and "
                "`ted evaluate` for each setting"
            )
    found = {made.yardstick: made for made in (kinds[scoring]() for scoring in {video.scoring for video in videos})}
    if len(found) > 1:
        raise ConfigError("different measures do not go into one table: sweep over the sources one by one")
    (kind,) = found.values()
    if metrics is not None and not isinstance(kind, Masks):
        titles = kind.yardstick.titles(dict.fromkeys(kind.yardstick.columns, 0.0)).values()
        raise ConfigError(f"--metrics is for masks, and these videos are scored by {', '.join(titles)}: leave it out")
    return kind


def read_score(value: Any) -> Score:
    """Build a score from what its `to_json` gave; raises TypeError, KeyError or ValueError for something else."""
    if isinstance(value, list):
        return MaskScore.from_json(value)
    for name, score in _SCORES.items():
        if name in value:
            return score.from_json(value)
    raise ValueError("no score of any kind")
