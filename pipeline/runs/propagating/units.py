"""Find the features of a video that a run reads."""

import logging
from collections.abc import Sequence

from ....extract.noising.keyed_noise import NOISE_SCHEME
from ....store import Cache, FeatureChoice, Unit
from ....store.errors import UnitNotFoundError
from ...datasets.video import Video

_log = logging.getLogger(__name__)


def find_units(
    cache: Cache, video: Video, choices: Sequence[FeatureChoice], prefer: Sequence[tuple[str, str]]
) -> dict[FeatureChoice, Unit]:
    """Find the units of a video's features; log a warning for units whose settings differ from the preferred ones.

    Preferred fields decide between several units of a feature, as in `Cache.find`.

    Raises
    ------
    UnitNotFoundError
        When units are missing, or cannot be told apart; the message names all of them.
    FrameError
        For frames that cannot be read.
    CacheError
        For features that are incomplete or damaged, or that belong to other frames.
    """
    frames = video.frames.digest()
    units: dict[FeatureChoice, Unit] = {}
    problems: dict[FeatureChoice, UnitNotFoundError] = {}
    for choice in choices:
        try:
            units[choice] = cache.find(video.dataset, video.name, choice, frames=frames, prefer=prefer)
        except UnitNotFoundError as error:
            problems[choice] = error
        else:
            warn_of_other_settings(units[choice], prefer)
    if len(problems) == 1:
        raise next(iter(problems.values()))
    if problems:
        first = next(iter(problems.values()))
        wanted = " ".join(f"--feature '{choice.backbone}:{choice.timestep}:{choice.tap}'" for choice in problems)
        preferred = dict(reversed(prefer))
        options = {"ensemble": "--ensemble", "clip_overlap": "--overlap", "noise": "--noising"}
        wanted += "".join(f" {flag} {preferred[field]}" for field, flag in options.items() if field in preferred)
        raise UnitNotFoundError(
            f"{first}; {len(problems)} features are missing in all\nto extract them: ted extract SOURCE {wanted}",
            hint=first.hint,
        )
    return units


def find_weighted_units(
    cache: Cache, video: Video, parts: Sequence[tuple[FeatureChoice, float]], prefer: Sequence[tuple[str, str]]
) -> list[tuple[Unit, float]]:
    """Find the units of all features that have a weight; see `find_units`."""
    weighted = [(choice, weight) for choice, weight in parts if weight > 0]
    units = find_units(cache, video, list(dict.fromkeys(choice for choice, _ in weighted)), prefer)
    return [(units[choice], weight) for choice, weight in weighted]


def warn_of_other_settings(unit: Unit, prefer: Sequence[tuple[str, str]]) -> None:
    """Log a warning if a unit's settings differ from those that the user, or the preset, prefers."""
    # Only drawn noise has a seed, and is averaged over an ensemble of draws; inversions have neither.
    drawn = NOISE_SCHEME in unit.request.noise
    moot_fields = {"clip_overlap": unit.request.clip_length == 1, "ensemble": not drawn, "seed": not drawn}
    first = dict(reversed(prefer))  # as they are chosen by
    for field, value in ((field, first[field]) for field in dict(prefer)):
        actual, moot = unit.spec.field_text(field), moot_fields.get(field, False)
        if actual != value and not moot:
            _log.warning("%s: made with %s %s, not %s", unit.spec.label, field, actual, value)
