"""Named sets of synthetic videos: a small benchmark of objects that look alike."""

from dataclasses import replace

from ...store.errors import ConfigError
from .scene import Arrangement, SceneSpec

#: Distance between the seeds of two sets, so that different sets share no video.
_STRIDE = 1_000_000
#: Number of seeds of a set. All video seeds stay below the first training seed, 1,000,000,000.
_SEEDS = 100
#: Seed of the first video of each set; the name is the arrangement of its objects.
SETS: dict[Arrangement, int] = {"near": _STRIDE, "random": 2 * _STRIDE, "crossing": 3 * _STRIDE}


def set_specs(name: str, videos: int, base: SceneSpec) -> dict[str, SceneSpec]:
    """Return the specifications of a set's videos, by their names ``<set>-<number>``.

    `base` specifies all but the arrangement. Its seed, 0 to 99, selects disjoint sets; report results on 0. Videos of
    the same number have the same paths whatever the objects look like.

    Raises
    ------
    ConfigError
        If the set is unknown, or a number is out of range.
    """
    first = next((seed for known, seed in SETS.items() if known == name), None)
    if first is None:
        raise ConfigError(f"there is no synthetic set {name!r}; there are: {', '.join(SETS)}")
    if not 1 <= videos <= _STRIDE or base.seed >= _SEEDS:
        raise ConfigError(f"a synthetic set has 1 to {_STRIDE} videos and a seed of 0 to {_SEEDS - 1}")
    first += base.seed * _STRIDE * 10
    return {
        f"{name}-{number:04d}": replace(base, arrangement=name, seed=first + number)  # type: ignore[arg-type]
        for number in range(videos)
    }
