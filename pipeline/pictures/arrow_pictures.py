"""Pictures of the sources of labels: arrows from the pixels of a frame to the pixels that their labels come from."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...propagate import CosineKernel, FeatureReader, Origins, Part, PropagationSettings, trace_origins
from ...store.errors import ConfigError
from ..datasets.video import Video
from ..tasks.masks.frames import ReadMask
from .columns import PictureOutput, enlarge_frame, write_pictures
from .palette import display_palette
from .selection import Point, cell_of, sample_cells
from .sheet import contact_sheet

#: Background of the arrows: the context frames with the largest weights, each with its own sources; or the previous
#: frame, with the sources in all context frames.
Onto = Literal["context", "previous"]

_Picture = npt.NDArray[np.uint8]
_LEAST_SIDE = 800
_MOST_PANELS = 8
_EDGE = (16, 16, 16)


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Pixels of a frame on the feature grid: `cells` (pixel, 2), y and x, int64.

    `groups` (pixel,) are palette indices, the object's or one per pixel; `names` names each group.
    """

    cells: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    names: dict[int, str]


def named_pixels(video: Video, points: Sequence[Point], grid: tuple[int, int]) -> Pixels:
    """Return points as grid cells, each in its own group."""
    return Pixels(
        cells=np.array([cell_of(point.x, point.y, video.frames.size, grid) for point in points], dtype=np.int64),
        groups=np.arange(1, len(points) + 1, dtype=np.int64),
        names={number: f"pixel {point.x},{point.y}" for number, point in enumerate(points, 1)},
    )


def sampled_pixels(video: Video, read: ReadMask, frame: int, grid: tuple[int, int], count: int) -> Pixels:
    """Sample about `count` grid cells regularly on the objects of a frame's mask, with one group per object.

    Raises
    ------
    ConfigError
        If the frame has no mask.
    """
    mask = read(frame)
    if mask is None:
        raise ConfigError(
            f"frame {video.frames.names[frame]} of video {video.name!r} has no mask to choose pixels on: name pixels "
            "with --point, or a folder with results of `ted propagate` with --results"
        )
    objects = np.asarray(Image.fromarray(mask).resize((grid[1], grid[0]), Image.Resampling.NEAREST))
    cells, groups = sample_cells(objects, count)
    return Pixels(cells=cells, groups=groups, names={int(number): f"object {number}" for number in np.unique(groups)})


def write_arrows(
    video: Video,
    parts: Sequence[Part],
    settings: PropagationSettings,
    output: PictureOutput,
    *,
    pixels: Callable[[int, tuple[int, int]], Pixels],
    onto: Onto = "context",
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draw the sources of a frame's pixels with the weights of propagation; in a movie, those of every frame.

    The first of the output's frames is the one whose pixels are shown. `pixels` returns the pixels to show, given the
    index of a frame and the (y, x) of the grid. The movie draws onto the previous frame. Returns the files.

    Raises
    ------
    ConfigError
        If the parts cannot be fused, the frame is annotated, or it has no pixels to show.
    CorruptUnitError
        If features are not finite.
    """
    grid = FeatureReader(parts).grid
    frame, names = output.frames[0], video.frames.names

    def traced(frames: range) -> Iterator[tuple[Origins, Pixels]]:
        asked: dict[int, Pixels] = {}

        def cells(index: int) -> npt.NDArray[np.int64]:
            asked[index] = pixels(index, grid)
            return asked[index].cells

        steps = trace_origins(parts, settings, cells, frames=frames, annotated=video.annotated_frames(), device=device)
        for origins in steps:
            yield origins, asked.pop(origins.frame)

    about = f"frame {names[frame]} of video {video.name!r}"
    found = next(traced(range(frame, frame + 1)), None)
    if found is None:
        raise ConfigError(f"{about} is annotated, so its label comes from no other frame: choose another with --frame")
    origins, chosen = found
    if not len(chosen.cells):
        raise ConfigError(f"{about} has no object in its mask: name pixels with --point, or another frame with --frame")
    title = f"{video.name}: sources of pixels of frame {names[frame]} (top-k {settings.top_k}, temperature "
    title += f"{settings.temperature:g}, radius {settings.radius}"
    title += ")" if settings.kernel == CosineKernel() else f", kernel {settings.kernel})"
    panels = _panels(video, origins, chosen, onto)
    sheet = contact_sheet(panels, title=title, columns=2 if len(panels) == 2 else None, legend=chosen.names)
    movie = (
        contact_sheet(_panels(video, step, some, "previous"), title=f"{video.name}: sources of pixels", columns=2)
        for step, some in traced(range(len(names)))
    )
    return write_pictures(output, sheet, movie)


def draw_origins(
    picture: _Picture, origins: Origins, colours: npt.NDArray[np.uint8], *, within: Collection[int] = ()
) -> _Picture:
    """Draw an arrow from each pixel to each of its sources, as thick as the source's weight; return a new array.

    A ring marks a pixel that has sources; a dot marks a source at the same position. The picture (height, width, 3) is
    any frame of the video, `colours` (pixel, 3) are RGB. Only sources in the frames `within` are drawn; if it is empty,
    all pixels are marked, without arrows.
    """
    drawn = picture.copy()
    cell = np.array(picture.shape[:2]) / origins.grid  # (height, width) in pixels
    starts = np.rint((origins.cells + 0.5) * cell).astype(int)[:, ::-1]  # (pixel, 2), x and y
    ends = np.rint((origins.source_cells + 0.5) * cell).astype(int)[:, :, ::-1]
    unit = max(1.0, min(picture.shape[:2]) / 360)
    shares = origins.weights / origins.weights.max(axis=1, keepdims=True, initial=1e-12)
    shown = np.isin(origins.frames, list(within)) & (origins.weights > 0)
    inks = [tuple(colour) for colour in colours.tolist()]
    for pixel, source in sorted(np.argwhere(shown).tolist(), key=lambda item: float(shares[*item])):
        thickness = max(1, round(unit * (0.6 + 2.4 * float(shares[pixel, source]))))
        start, end = starts[pixel].tolist(), ends[pixel, source].tolist()
        for ink, width in ((_EDGE, thickness + max(2, round(unit))), (inks[pixel], thickness)):
            _arrow(drawn, start, end, ink, width, unit)
    marked = shown.any(axis=1) if len(within) else np.ones(len(starts), dtype=bool)
    for pixel in np.flatnonzero(marked).tolist():
        for ink, width in ((_EDGE, max(3, round(3 * unit))), (inks[pixel], max(1, round(1.5 * unit)))):
            cv2.circle(drawn, starts[pixel].tolist(), round(4.5 * unit), ink, width, cv2.LINE_AA)
    return drawn


def _arrow(drawn: _Picture, start: list[int], end: list[int], colour: tuple[int, ...], width: int, unit: float) -> None:
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if length < 1:
        cv2.circle(drawn, start, max(1, round(width / 2 + unit / 2)), colour, -1, cv2.LINE_AA)
    else:
        cv2.arrowedLine(drawn, start, end, colour, width, cv2.LINE_AA, tipLength=min(0.5, 6 * unit / length))


def _panels(video: Video, origins: Origins, pixels: Pixels, onto: Onto) -> list[tuple[str, _Picture]]:
    """Return labelled pictures: the frame with its pixels, then the frames that hold the sources."""
    names = video.frames.names
    colours = display_palette()[(pixels.groups - 1) % 255 + 1]

    def picture(frame: int, within: Sequence[int]) -> _Picture:
        return draw_origins(enlarge_frame(video.frames.read(frame), _LEAST_SIDE), origins, colours, within=within)

    # Frames are read in rising order: reading backwards would decode a video file from its beginning again.
    if onto == "previous":
        last = origins.context[-1]
        label = f"{names[last]}, the frame before, with the sources in all {len(origins.context)} context frames"
        panels = [(label, picture(last, origins.context))]
    else:
        total = float(origins.weights.sum())
        weight = {frame: float(origins.weights[origins.frames == frame].sum()) / total for frame in origins.context}
        heaviest = sorted(sorted(weight, key=lambda frame: -weight[frame])[:_MOST_PANELS])
        panels = [
            (f"{names[frame]}: {weight[frame]:.0%} of the weight", picture(frame, [frame]))
            for frame in heaviest
            if weight[frame] > 0
        ]
    return [(f"{names[origins.frame]}: the pixels", picture(origins.frame, ())), *panels]
