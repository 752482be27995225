"""A small synthetic video with exact masks: two shaded balls that pass in front of each other."""

import colorsys
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from .writing import write_davis

__all__ = ["BallsSpec", "render", "write_davis"]

_Image = npt.NDArray[np.float64]

#: Direction towards the light (x, y, towards the viewer): above, to the left, in front.
_LIGHT = np.array([-0.45, -0.6, 0.66]) / math.sqrt(0.45**2 + 0.6**2 + 0.66**2)


@dataclass(frozen=True, kw_only=True)
class BallsSpec:
    """A video of two balls.

    The balls start apart, meet after about a third of the video, and bounce off the edges of the frame.

    Attributes
    ----------
    frames
        Length of the video.
    size
        (height, width) in pixels. The longer side is at least 4 radii, the shorter one 2.
    radius
        Of the balls, in pixels.
    identical
        Whether the balls have the same colour. If not, their hues are opposite.
    seed
        Of colours, motion, depth and background; equal specs give equal videos.
    """

    frames: int = 16
    size: tuple[int, int] = (256, 320)
    radius: float = 30.0
    identical: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.seed < 0:
            raise ConfigError("a video of balls needs at least one frame and a seed of at least 0")
        if self.radius <= 0 or max(self.size) < 4 * self.radius + 2 or min(self.size) < 2 * self.radius + 2:
            raise ConfigError(f"two balls of radius {self.radius:g} do not fit into frames of {self.size} pixels")


def render(spec: BallsSpec) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw the video.

    Returns
    -------
    frames : numpy.ndarray
        (frame, height, width, 3), uint8, RGB.
    masks : numpy.ndarray
        (frame, height, width), uint8: 0 for the background, else the number of the ball that is seen there. A pixel
        belongs to a ball when its centre lies inside; ball edges are smooth over one pixel around that line.
    """
    rng = np.random.default_rng(spec.seed)
    centres = _motion(spec, rng)  # (ball, frame, 2), y and x
    hue = rng.uniform(0, 360)
    colours = [_colour(hue), _colour(hue if spec.identical else hue + 180)]
    far_to_near = rng.permutation(2)
    background = _background(spec.size, rng)
    frames = np.empty((spec.frames, *spec.size, 3), dtype=np.uint8)
    masks = np.zeros((spec.frames, *spec.size), dtype=np.uint8)
    for index in range(spec.frames):
        image = background.copy()
        for ball in far_to_near:
            shade, coverage = _shade(spec, centres[ball, index], colours[ball])
            image += coverage[..., None] * (shade - image)
            masks[index][coverage >= 0.5] = ball + 1
        frames[index] = np.rint(255 * image.clip(0, 1))
    return frames, masks


def _motion(spec: BallsSpec, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Centres (ball, frame, 2) as y and x: straight lines, folded back at the edges of the frame."""
    low, high = np.full(2, spec.radius), np.array(spec.size) - 1 - spec.radius
    starts = rng.uniform(low, high, size=(2, 2))
    # Each starts in its own half along the longer side, so that both are whole in the first frame.
    longer = int(np.argmax(spec.size))
    middle = (spec.size[longer] - 1) / 2
    starts[0, longer] = rng.uniform(low[longer], middle - spec.radius)
    starts[1, longer] = rng.uniform(middle + spec.radius, high[longer])
    # They meet near one point, so that the nearer one hides much of the other.
    meeting = rng.uniform(low, high) + rng.uniform(-0.5, 0.5, size=(2, 2)) * spec.radius
    velocity = (meeting - starts) / max(spec.frames / 3, 1)
    times = np.arange(spec.frames)[None, :, None]
    travelled = starts[:, None] + velocity[:, None] * times - low
    span = high - low
    centres: npt.NDArray[np.float64] = low + span - np.abs(np.mod(travelled, 2 * span) - span)
    return centres


def _shade(spec: BallsSpec, centre: npt.NDArray[np.float64], colour: _Image) -> tuple[_Image, _Image]:
    """Colours of a lit ball (height, width, 3) and the share of each pixel that it covers (height, width)."""
    y, x = np.ogrid[: spec.size[0], : spec.size[1]]
    dy, dx = (y - centre[0]) / spec.radius, (x - centre[1]) / spec.radius
    squared = dx**2 + dy**2
    normal = np.stack(np.broadcast_arrays(dx, dy, np.sqrt(np.clip(1 - squared, 0, None))), axis=-1)
    facing = normal @ _LIGHT
    mirrored = np.clip(2 * facing * normal[..., 2] - _LIGHT[2], 0, 1)
    lit = colour * (0.28 + 0.72 * np.clip(facing, 0, 1))[..., None] + 0.55 * (mirrored**24)[..., None]
    coverage = np.clip((1 - np.sqrt(squared)) * spec.radius + 0.5, 0, 1)
    return lit, coverage


def _colour(hue: float) -> _Image:
    """RGB in [0, 1] of a strong colour; hue in degrees."""
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1, 0.8, 0.95))


def _background(size: tuple[int, int], rng: np.random.Generator) -> _Image:
    """Muted texture (height, width, 3) in [0, 1] with detail at several scales."""
    height, width = size
    image = np.full((height, width, 3), rng.uniform(0.4, 0.55, size=3))
    for cell, strength in ((96, 0.16), (32, 0.1), (12, 0.07), (4, 0.05)):
        grid = rng.uniform(-1, 1, size=(height // cell + 2, width // cell + 2, 3))
        grid = 0.6 * grid.mean(axis=-1, keepdims=True) + 0.4 * grid
        image += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return image
