"""Rendering of a synthetic video with its ground truth."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .captions import hue_name
from .drawing import TEXTURE, Appearance, colour, draw_object, mottled, noise_image, patched
from .paths import draw_paths
from .scene import SceneSpec

#: Number of tracked points on each object beside its centre.
_POINTS = 8
#: Cell size (at a shorter side of 256) and amplitude of each scale of the background's texture.
_GROUND = ((96, 0.16), (32, 0.1), (12, 0.07), (4, 0.05))
#: Amplitude of an object's blotches.
_MOTTLED = 0.35
#: Size of patches: of an object, in cells of its texture; of the background, in pixels at a shorter side of 256.
_PATCH, _PATCHES = 16, 28
#: Largest speed of the background, in shorter sides per frame.
_DRIFT = 0.02


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video and its ground truth."""

    frames: npt.NDArray[np.uint8]  # (frame, height, width, 3), uint8, RGB
    masks: npt.NDArray[np.uint8]  # (frame, height, width), uint8, number of the visible object; 0 for background
    centres: npt.NDArray[np.float64]  # (object, frame, 2), x and y in pixels, also where the object is occluded
    radii: npt.NDArray[np.float64]  # (object,), radii in pixels
    # (object, point, frame, 2), x and y of points on each object; the first is its centre
    points: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]  # (object, point, frame), whether the point's pixel shows the object
    names: tuple[str, ...] = ()  # (object,), colour and shape, such as ``red ball``; ``patched`` for several colours


def render(spec: SceneSpec) -> Clip:
    """Render a video.

    Raises
    ------
    ConfigError
        If no paths as specified are found.
    """
    # Separate generators, so that the appearance of objects does not change their paths.
    appearance_rng, paths_rng, ground_rng, points_rng = (np.random.default_rng([spec.seed, part]) for part in range(4))
    radii = paths_rng.uniform(*spec.radius, size=spec.objects)
    if spec.identical:
        radii[:] = radii[0]
    centres = draw_paths(spec, radii, paths_rng)
    appearances, colours, names = _appearances(spec, radii, centres, appearance_rng)
    ground = _Ground(spec, colours, ground_rng)
    far_to_near = paths_rng.permutation(spec.objects)
    frames = np.empty((spec.frames, *spec.size, 3), dtype=np.uint8)
    masks = np.zeros((spec.frames, *spec.size), dtype=np.uint8)
    for index in range(spec.frames):
        image = ground.at(index)
        for number in far_to_near:
            draw_object(image, masks[index], appearances[number], centres[number, index], number + 1)
        frames[index] = np.rint(255 * image.clip(0, 1))
    points = centres[:, None] + _offsets(spec, radii, points_rng)
    x, y = np.rint(points).astype(int).transpose(3, 0, 1, 2)
    seen = masks[np.arange(spec.frames), y, x]
    visible = seen == np.arange(1, spec.objects + 1)[:, None, None]
    return Clip(
        frames=frames, masks=masks, centres=centres, radii=radii, points=points, visible=visible, names=tuple(names)
    )


def _appearances(
    spec: SceneSpec,
    radii: npt.NDArray[np.float64],
    centres: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[list[Appearance], list[npt.NDArray[np.float32]], list[str]]:
    """Draw the appearance of each object; also return all colours, and the objects' names."""
    first, step = rng.uniform(0, 360), 360 / spec.objects if spec.hue_step is None else spec.hue_step
    if spec.hue == "heading":
        x, y = (centres[:, min(1, spec.frames - 1)] - centres[:, 0]).T
        hues = np.degrees(np.arctan2(y, x))
    else:
        hues = first + step * np.arange(spec.objects)
    same = spec.identical and spec.hue == "drawn"
    appearances, colours, names = [], [], []
    for number in range(1 if same else spec.objects):
        own_rng = copy.deepcopy(rng) if spec.identical else rng
        drawn = ("ball", "box", "diamond")[own_rng.integers(3)]
        shape = drawn if spec.shape == "mixed" else spec.shape
        own = [colour(hues[number])]
        if spec.texture == "patched":
            others = own_rng.uniform(0, 360, size=2)
            own += [colour(other) * np.float32(own_rng.uniform(0.5, 1)) for other in others]
            albedo = patched(own, (TEXTURE, TEXTURE), _PATCH, own_rng)
        else:
            albedo = mottled(own[0], _MOTTLED if spec.texture == "mottled" else 0, own_rng)
        appearances.append(Appearance(radius=radii[number], shape=shape, albedo=albedo))  # type: ignore[arg-type]
        names.append(f"{'patched' if spec.texture == 'patched' else hue_name(hues[number])} {shape}")
        colours += own
    copies = spec.objects if same else 1
    return appearances * copies, colours, names * copies


def _offsets(spec: SceneSpec, radii: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw points within 0.8 radii of the centres, uniform over the area: offsets (object, point, 1, 2)."""
    angle = rng.uniform(0, 2 * np.pi, size=(spec.objects, _POINTS))
    reach = 0.8 * radii[:, None] * np.sqrt(rng.uniform(size=(spec.objects, _POINTS)))
    drawn = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
    return np.concatenate([np.zeros((spec.objects, 1, 2)), drawn], axis=1)[:, :, None]


class _Ground:
    """A textured background, still or moving."""

    def __init__(self, spec: SceneSpec, colours: Sequence[npt.NDArray[np.float32]], rng: np.random.Generator) -> None:
        side = min(spec.size)
        self._size = spec.size
        self._velocity = rng.uniform(-_DRIFT, _DRIFT, size=2) * side if spec.background == "moving" else np.zeros(2)
        self._margin = int(np.ceil(np.abs(self._velocity).max() * spec.frames)) + 1
        size = (spec.size[0] + 2 * self._margin, spec.size[1] + 2 * self._margin)
        if spec.ground == "camouflage":
            greys = [np.full(3, value, dtype=np.float32) for value in rng.uniform(0.2, 0.7, size=3)]
            darkened = [np.float32(0.8) * one for one in colours]  # about as bright as lit objects
            self._image = patched([*darkened, *greys], size, max(1, round(_PATCHES * side / 256)), rng)
        else:
            base = rng.uniform(0.4, 0.55, size=3).astype(np.float32)
            self._image = np.broadcast_to(base, (*size, 3))
            if spec.ground == "muted":
                scales = tuple((max(1, round(cell * side / 256)), strength) for cell, strength in _GROUND)
                self._image = base + noise_image(size, scales, rng)

    def at(self, index: int) -> npt.NDArray[np.float32]:
        """Return a copy of the background of a frame."""
        x, y = np.rint(self._margin + self._velocity * index).astype(int)
        return self._image[y : y + self._size[0], x : x + self._size[1]].copy()
