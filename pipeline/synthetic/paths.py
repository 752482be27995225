"""Random paths of the objects of a synthetic video."""

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from .scene import SceneSpec

_Array = npt.NDArray[np.float64]

#: Slowest and fastest motion, in shorter sides of the frame per frame.
_SPEED = (0.012, 0.045)
#: Sharpest turn of a curved path, in radians over the whole video.
_TURN = 2.2
#: Smallest gap between objects that do not touch, in pixels at a shorter side of 256.
_APART = 3.0
#: Largest gap, in half of the frames, between objects that stay near each other, in shorter sides.
_NEAR = 0.2
#: Distance between the centres of objects where they cross, in radii.
_MEETING = 0.5
#: Smallest angle between the directions of objects that cross, in radians.
_ANGLE = np.pi / 4

_ATTEMPTS = 20_000


def draw_paths(spec: SceneSpec, radii: _Array, rng: np.random.Generator) -> _Array:
    """Draw random paths until they are arranged as specified, for objects of the given radii (object,) in pixels.

    Returns (object, frame, 2): x and y of the centres in pixels; the centre of the first pixel is (0, 0).

    Raises
    ------
    ConfigError
        If no such paths are found: there are too many or too large objects, or too few frames.
    """
    for _ in range(_ATTEMPTS):
        paths = _attempt(spec, radii, rng)
        if _inside(spec, radii, paths) and _arranged(spec, gaps(paths, radii)):
            return paths
    raise ConfigError(
        f"found no paths of {spec.objects} objects of radius {radii.min():.0f} to {radii.max():.0f} arranged as "
        f"{spec.arrangement!r} in {spec.frames} frames of {spec.size} pixels; use fewer or smaller objects, or more "
        "frames"
    )


def gaps(paths: _Array, radii: _Array) -> _Array:
    """Compute the gap (pair, frame) in pixels between the outlines of every two objects, taken as balls.

    `paths` (object, frame, 2) are their centres, `radii` (object,) their radii. Gaps are negative where objects
    overlap; pairs come in the order (0, 1), (0, 2), ..., (1, 2), ...
    """
    first, second = np.triu_indices(len(paths), k=1)
    distance = np.linalg.norm(paths[first] - paths[second], axis=-1)
    between: _Array = distance - (radii[first] + radii[second])[:, None]
    return between


def _attempt(spec: SceneSpec, radii: _Array, rng: np.random.Generator) -> _Array:
    """Draw paths with the specified motion: a position, the time when it is passed, a velocity and a turn for each."""
    count, side = len(radii), min(spec.size)
    low, high = radii[:, None], np.array(spec.size)[::-1] - 1 - radii[:, None]
    direction = rng.uniform(0, 2 * np.pi, size=count)
    speed = rng.uniform(*_SPEED, size=count) * side
    turn = rng.uniform(-_TURN, _TURN, size=count) / max(spec.frames, 2)
    if spec.arrangement == "crossing":
        position = rng.uniform(low.max(axis=0), high.min(axis=0))
        position = position + rng.uniform(-0.5, 0.5, size=(count, 2)) * _MEETING * radii.min()
        when = np.full(count, rng.uniform(1 / 3, 2 / 3) * (spec.frames - 1))
        between = np.abs((direction[:, None] - direction + np.pi) % (2 * np.pi) - np.pi)
        if count > 1 and between[np.triu_indices(count, k=1)].min() < _ANGLE:
            return np.full((count, spec.frames, 2), np.nan)
    else:
        position = rng.uniform(low, high)
        when = rng.uniform(0, spec.frames - 1, size=count)
    time = np.arange(spec.frames) - when[:, None]
    if spec.motion == "curved":
        # The integral of a velocity whose direction turns at a constant rate.
        angle, rate = direction[:, None] + turn[:, None] * time, turn[:, None]
        start = direction[:, None]
        moved = np.stack([np.sin(angle) - np.sin(start), np.cos(start) - np.cos(angle)], axis=-1) / rate[..., None]
    else:
        heading = np.stack([np.cos(direction), np.sin(direction)], axis=-1)
        moved = heading[:, None] * time[..., None]
    paths: _Array = position[:, None] + speed[:, None, None] * moved
    if spec.motion == "bouncing":
        span = (high - low)[:, None]
        paths = low[:, None] + span - np.abs(np.mod(paths - low[:, None], 2 * span) - span)
    return paths


def _inside(spec: SceneSpec, radii: _Array, paths: _Array) -> bool:
    low, high = radii[:, None, None], np.array(spec.size)[::-1] - 1 - radii[:, None, None]
    return bool(((paths >= low) & (paths <= high)).all())


def _arranged(spec: SceneSpec, between: _Array) -> bool:
    apart = _APART * min(spec.size) / 256
    if not len(between):
        return True
    if spec.arrangement == "near":
        return bool(between.min() >= apart and np.median(between, axis=1).max() <= _NEAR * min(spec.size))
    if spec.arrangement == "crossing" and between[:, -1].min() < apart:
        return False
    return bool(between[:, 0].min() >= apart)
