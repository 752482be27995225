"""The kinds that sweeps know: by how videos are scored, and by what a journal holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...store.errors import ConfigError
from ..datasets.point_queries import QueryMode
from ..datasets.video import Video
from .base import Kind, Score
from .boxes.evaluation import Boxes, BoxesScore
from .joints.evaluation import Joints, JointScore
from .masks.evaluation import Masks
from .masks.scores import MaskScore
from .parts.evaluation import Parts, PartScore
from .points.evaluation import Points, PointScore

__all__ = ["kind_of", "read_score"]

#: What a score in a journal begins with.
_SCORES: Mapping[str, type[Score]] = {"boxes": BoxesScore, "parts": PartScore, "pck": JointScore, "tapvid": PointScore}

#: Why others are not scored, and what helps.
_UNSCORED: Mapping[str, str] = {
    "boxes": "table of boxes says what is given, and not what is true: run `ted propagate` for each setting, and "
    "`ted evaluate` with the true boxes as --annotations. Where there are masks, --target boxes sweeps",
    "none": "points have no measure: sweep over points of TAP-Vid",
}


def kind_of(
    videos: Sequence[Video],
    *,
    metrics: str | None = None,
    query_mode: QueryMode = "first",
    target: str = "masks",
) -> Kind:
    """Return how some videos are measured.

    Parameters
    ----------
    videos
        At least one.
    metrics
        ``"jf"`` or ``"j"``, for masks alone; J and F by default.
    query_mode
        Which points are given; of no meaning for others.
    target
        ``"masks"``, or ``"boxes"`` for those around the objects of masks.

    Raises
    ------
    ConfigError
        When they are measured in different ways or one that sweeps do not know, or `metrics` or `target` is not for
        them.
    """
    objects: Callable[[], Kind] = Boxes if target == "boxes" else lambda: Masks(contours=metrics != "j")
    kinds: Mapping[str, Callable[[], Kind]] = {
        "davis": objects,
        "objects": objects,
        "parts": Parts,
        "pck": Joints,
        "tapvid": lambda: Points(mode=query_mode),
    }
    for video in videos:
        if video.scoring not in kinds:
            raise ConfigError(f"a sweep cannot score video {video.name!r}, whose {_UNSCORED[video.scoring]}")
    found = {made.metric_spec: made for made in (kinds[scoring]() for scoring in {video.scoring for video in videos})}
    if len(found) > 1:
        raise ConfigError("different measures do not go into one table: sweep over the sources one by one")
    (kind,) = found.values()
    if target == "boxes" and not isinstance(kind, Boxes):
        raise ConfigError("--target boxes is for sources with masks of objects: leave it out")
    if metrics is not None and not isinstance(kind, Masks):
        titles = kind.metric_spec.titles(dict.fromkeys(kind.metric_spec.columns, 0.0)).values()
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
