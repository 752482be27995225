"""What a sweep needs of one video beside its ground truth: its units, and a key for the scores of every setting."""

import hashlib
from collections.abc import Mapping, Sequence

from ....store import Cache, FeatureChoice, Unit
from ....store.durable import canonical_json
from ....store.errors import TedError, UnitNotFoundError
from ...datasets.video import Video
from ...tasks.base import EvalCase
from ..propagating.propagation import warn_of_other_settings
from .space import Setting

__all__ = ["find_units", "score_key"]

#: Part of every key: scores that were computed in another way are not mixed with these.
_SCORING = 1


def score_key(grading: EvalCase, setting: Setting, units: Mapping[FeatureChoice, Unit]) -> str:
    """Return a name of all that a video's scores under a setting depend on: features, what is given, the truth."""
    determining = {
        "scoring": _SCORING,
        "features": [[units[choice].content_hash, weight] for choice, weight in setting.parts],
        **grading.key,
        **setting.propagation.to_json(),
    }
    return hashlib.sha256(canonical_json(determining)).hexdigest()


def find_units(
    cache: Cache, video: Video, choices: Sequence[FeatureChoice], prefer: Sequence[tuple[str, str]]
) -> dict[FeatureChoice, Unit]:
    """Open the units of a video that a sweep needs.

    Raises
    ------
    UnitNotFoundError
        When some are not there, or cannot be told apart, with what to do about all of them.
    FrameError
        For frames that cannot be read.
    CacheError
        For a unit that cannot be read.
    """
    frames = video.frames.digest()
    units: dict[FeatureChoice, Unit] = {}
    problems: dict[FeatureChoice, TedError] = {}
    for choice in choices:
        try:
            units[choice] = cache.find(video.dataset, video.name, choice, frames=frames, prefer=prefer)
        except UnitNotFoundError as error:
            problems[choice] = error
        else:
            warn_of_other_settings(units[choice], prefer)
    if problems:
        first = next(iter(problems.values()))
        wanted = " ".join(f"--feature '{choice.backbone}:{choice.timestep}:{choice.tap}'" for choice in problems)
        others = f"; {len(problems) - 1} more features are not there either" if len(problems) > 1 else ""
        raise UnitNotFoundError(f"{first}{others}\nto extract what is not there: ted extract SOURCE {wanted}")
    return units
