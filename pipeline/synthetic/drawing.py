"""Drawing of objects and backgrounds."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

_Image = npt.NDArray[np.float32]

#: Unit vector towards the light, which is above, to the left and in front: x, y, towards the viewer.
_LIGHT = np.array([-0.45, -0.6, 0.66], dtype=np.float32) / math.sqrt(0.45**2 + 0.6**2 + 0.66**2)

#: Half the side of a square with the area of a ball, in radii.
_HALF_SIDE = math.sqrt(math.pi) / 2

#: Side of an object's texture, in pixels.
TEXTURE = 64


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Radius in pixels (of the ball with the same area), outline and colours of an object.

    `albedo`, (64, 64, 3), float32, RGB in [0, 1], colours the square that reaches 1.5 radii from the centre.
    """

    radius: float
    shape: Literal["ball", "box", "diamond"]
    albedo: _Image


def colour(hue: float) -> _Image:
    """Return a strong colour as RGB in [0, 1]; `hue` in degrees."""
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1, 0.8, 0.95), dtype=np.float32)


def mottled(base: _Image, strength: float, rng: np.random.Generator) -> _Image:
    """Return an albedo with blotches around a colour. The number of random draws does not depend on `strength`."""
    blotches = noise_image((TEXTURE, TEXTURE), ((20, 1.0), (9, 0.7)), rng)
    return (base * (1 + strength * blotches)).clip(0, 1)


def patched(colours: Sequence[_Image], size: tuple[int, int], cell: int, rng: np.random.Generator) -> _Image:
    """Draw patches (height, width, 3) of about `cell` pixels that share the area equally among the colours."""
    scales = ((cell, 1.0), (max(1, cell // 2), 0.5))
    heights = [noise_image(size, scales, rng)[..., 0] for _ in colours]
    drawn: _Image = np.stack(colours)[np.argmax(heights, axis=0)]
    return drawn


def noise_image(
    size: tuple[int, int], scales: tuple[tuple[int, float], ...], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw smooth noise (height, width, 3), float32, around 0; `scales` are cell sizes in pixels and amplitudes.

    The channels have 60 % of the noise in common, so it is mostly grey.
    """
    height, width = size
    image = np.zeros((height, width, 3), dtype=np.float32)
    for cell, strength in scales:
        grid = rng.uniform(-1, 1, size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        grid = 0.6 * grid.mean(axis=-1, keepdims=True) + 0.4 * grid
        image += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def draw_object(
    image: _Image, mask: npt.NDArray[np.uint8], appearance: Appearance, centre: npt.NDArray[np.float64], number: int
) -> None:
    """Draw one object over an image (height, width, 3), RGB in [0, 1], and a mask (height, width), in place.

    A pixel belongs to the object if its centre lies inside the outline. Edges are antialiased over one pixel. `centre`
    is x and y in pixels, `number` the object's in the mask.
    """
    reach = appearance.radius * math.sqrt(2) * _HALF_SIDE + 2  # a diamond's corners
    left, top = (max(0, math.floor(value - reach)) for value in centre)
    right = min(image.shape[1], math.ceil(centre[0] + reach) + 1)
    bottom = min(image.shape[0], math.ceil(centre[1] + reach) + 1)
    x, y = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    dx = ((x - centre[0]) / appearance.radius).astype(np.float32)
    dy = ((y - centre[1]) / appearance.radius).astype(np.float32)
    coverage = np.clip(_depth(appearance.shape, dx, dy) * appearance.radius + 0.5, 0, 1)[..., None]
    window = np.s_[top:bottom, left:right]
    image[window] += coverage * (_lit(appearance, dx, dy) - image[window])
    mask[window][coverage[..., 0] >= 0.5] = number


def _depth(shape: str, dx: _Image, dy: _Image) -> _Image:
    """Return the distance from the outline in radii, positive inside."""
    if shape == "ball":
        distance: _Image = np.float32(1) - np.hypot(dx, dy)
        return distance
    if shape == "box":
        reach = np.maximum(np.abs(dx), np.abs(dy))
    else:
        reach = (np.abs(dx) + np.abs(dy)) / np.float32(math.sqrt(2))
    inside: _Image = np.float32(_HALF_SIDE) - reach
    return inside


def _lit(appearance: Appearance, dx: _Image, dy: _Image) -> _Image:
    """Return the object's colours, shaded like a ball with a light at the upper left and its reflection."""
    scale = (TEXTURE - 1) / 3
    albedo = cv2.remap(
        appearance.albedo, (dx + 1.5) * scale, (dy + 1.5) * scale, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    normal = np.stack([dx, dy, np.sqrt(np.clip(1 - dx**2 - dy**2, 0, None))], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    facing = normal @ _LIGHT
    mirrored = np.clip(2 * facing * normal[..., 2] - _LIGHT[2], 0, 1)
    lit: _Image = albedo * (0.28 + 0.72 * np.clip(facing, 0, 1))[..., None] + 0.55 * (mirrored**24)[..., None]
    return lit
