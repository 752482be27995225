"""The named sets of synthetic videos: a small benchmark of objects that look alike."""

from dataclasses import dataclass, replace

from ...store.errors import ConfigError
from .scene import Arrangement, SceneSpec

__all__ = ["SETS", "SyntheticSet", "set_specs"]

#: Distance between the seeds of two sets: videos of different sets have nothing in common.
_STRIDE = 1_000_000

#: Seeds of a set. The first training seed, 1,000,000,000, is above all that follows from them.
_SEEDS = 100


@dataclass(frozen=True, kw_only=True)
class SyntheticSet:
    """Videos of one arrangement.

    Attributes
    ----------
    arrangement
        Of the objects.
    first_seed
        Seed of the first video; the next ones follow.
    says
        What the set asks of a tracker, in a line.
    """

    arrangement: Arrangement
    first_seed: int
    says: str


SETS: dict[str, SyntheticSet] = {
    "near": SyntheticSet(
        arrangement="near",
        first_seed=_STRIDE,
        says="two objects close to each other that never touch: position tells them apart",
    ),
    "random": SyntheticSet(
        arrangement="random",
        first_seed=2 * _STRIDE,
        says="two objects that know nothing of each other",
    ),
    "crossing": SyntheticSet(
        arrangement="crossing",
        first_seed=3 * _STRIDE,
        says="two objects that pass in front of each other: where they meet, position misleads",
    ),
}


def set_specs(name: str, videos: int, base: SceneSpec) -> dict[str, SceneSpec]:
    """List the videos of a set.

    Parameters
    ----------
    name
        A key of `SETS`.
    videos
        How many, at least 1.
    base
        All but the arrangement. Its seed, 0 to 99, chooses among sets that have no video in common; 0 is the one to
        report. Equal numbers are the same paths whatever the objects look like.

    Returns
    -------
    dict of str to SceneSpec
        By the videos' names, ``<set>-<number>``.

    Raises
    ------
    ConfigError
        For an unknown set, or numbers out of range.
    """
    if name not in SETS:
        raise ConfigError(f"there is no synthetic set {name!r}; there are: {', '.join(SETS)}")
    if not 1 <= videos <= _STRIDE or base.seed >= _SEEDS:
        raise ConfigError(f"a synthetic set has 1 to {_STRIDE} videos and a seed of 0 to {_SEEDS - 1}")
    chosen, first = SETS[name], base.seed * _STRIDE * 10 + SETS[name].first_seed
    return {
        f"{name}-{number:04d}": replace(base, arrangement=chosen.arrangement, seed=first + number)
        for number in range(videos)
    }
