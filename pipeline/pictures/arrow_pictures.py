"""Pictures of where the labels of a frame's pixels come from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...propagate import FeatureReader, Origins, Part, PropagationSettings, trace_origins
from ...store.errors import ConfigError
from ..datasets.video import Video
from .arrows import POINT_COLOURS, draw_origins
from .columns import Look
from .enlarge import enlarged_frame
from .mask_pictures import ReadMask
from .movie import write_movie
from .places import Point, cell_of, sample_cells
from .sheet import contact_sheet, write_picture

__all__ = ["Onto", "Pixels", "given_pixels", "sampled_pixels", "write_arrows"]

#: What arrows are drawn over: the context frames that weigh most, each with the sources in it; or the frame before,
#: with all sources.
Onto = Literal["context", "previous"]

_LEAST_SIDE = 800
_MOST_PANELS = 8


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Pixels of a frame, on the feature grid.

    Attributes
    ----------
    cells
        (pixel, 2), int64, y and x.
    groups
        (pixel,), int64: pixels of a group have the same colour.
    names
        Of the groups, by their number.
    """

    cells: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    names: dict[int, str]


def given_pixels(video: Video, points: Sequence[Point], grid: tuple[int, int]) -> Pixels:
    """Return given points as pixels of the grid, each in a group of its own."""
    return Pixels(
        cells=np.array([cell_of(point.x, point.y, video.frames.size, grid) for point in points], dtype=np.int64),
        groups=np.arange(len(points), dtype=np.int64),
        names={number: f"pixel {point.x},{point.y}" for number, point in enumerate(points)},
    )


def sampled_pixels(video: Video, read: ReadMask, frame: int, grid: tuple[int, int], count: int) -> Pixels:
    """Return pixels regularly spaced on the objects of a frame's mask, those of an object as a group.

    Raises
    ------
    ConfigError
        When the frame has no mask.
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
    look: Look,
    *,
    pixels: Callable[[int, tuple[int, int]], Pixels],
    onto: Onto = "context",
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Show the sources of pixels of a frame, as propagation finds and weighs them; in a movie, those of every frame.

    Parameters
    ----------
    video
        The frames.
    parts
        Features and their weights, more than 0.
    settings
        All but alpha are used: the weights in `parts` count.
    look
        Where to; the first of its frames is the one whose pixels are shown.
    pixels
        Returns the pixels that are shown of a frame, given its index and the (y, x) of the grid.
    onto
        What arrows are drawn over. The movie has the frame before.
    device
        Where to compute.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    ConfigError
        For parts that cannot be fused, a frame that takes its label from no other, or one without pixels to show.
    CorruptUnitError
        For features that are not finite.
    """
    grid = FeatureReader(parts).grid
    frame = look.frames[0]
    names = video.frames.names

    def traced(frames: range) -> Iterator[tuple[Origins, Pixels]]:
        asked: dict[int, Pixels] = {}

        def cells(index: int) -> npt.NDArray[np.int64]:
            asked[index] = pixels(index, grid)
            return asked[index].cells

        steps = trace_origins(parts, settings, cells, frames=frames, annotated=video.annotated_frames(), device=device)
        for origins in steps:
            yield origins, asked.pop(origins.frame)

    found = next(traced(range(frame, frame + 1)), None)
    if found is None:
        raise ConfigError(
            f"frame {names[frame]} of video {video.name!r} takes its label from no other, it is given; choose another "
            "with --frame"
        )
    origins, chosen = found
    if not len(chosen.cells):
        raise ConfigError(
            f"frame {names[frame]} of video {video.name!r} has no object in its mask: name pixels with --point, or "
            "another frame with --frame"
        )
    about = f"top-k {settings.top_k}, temperature {settings.temperature:g}, radius {settings.radius}"
    title = f"{video.name}: sources of pixels of frame {names[frame]} ({about})"
    panels = _panels(video, origins, chosen, onto)
    columns = 2 if len(panels) == 2 else None
    sheet = contact_sheet(
        panels, title=title, columns=columns, legend=dict(enumerate(chosen.names.values())), palette=_palette()
    )
    written = [write_picture(look.base.with_name(f"{look.base.name}.png"), sheet)]
    if look.fps is not None:

        def movie() -> Iterator[npt.NDArray[np.uint8]]:
            for origins, some in traced(range(len(names))):
                yield contact_sheet(
                    _panels(video, origins, some, "previous"), title=f"{video.name}: sources of pixels", columns=2
                )
                look.progress(1)

        written.append(write_movie(look.base.with_name(f"{look.base.name}.mp4"), movie(), fps=look.fps))
    return written


def _panels(video: Video, origins: Origins, pixels: Pixels, onto: Onto) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Return the frame with its pixels, then the frames that they come from, each with its label."""
    names = video.frames.names
    colours = _colours(pixels)

    def picture(frame: int, within: Sequence[int]) -> npt.NDArray[np.uint8]:
        return draw_origins(enlarged_frame(video.frames.read(frame), _LEAST_SIDE), origins, colours, within=within)

    # Frames of a video file are read in their order, or the file is decoded from its beginning again.
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


def _colours(pixels: Pixels) -> npt.NDArray[np.uint8]:
    order = {group: place for place, group in enumerate(pixels.names)}
    places = np.array([order[int(group)] for group in pixels.groups], dtype=np.int64)
    return POINT_COLOURS[places % len(POINT_COLOURS)]


def _palette() -> npt.NDArray[np.uint8]:
    """Return the colours of the groups as a sheet's legend wants them: (256, 3)."""
    return POINT_COLOURS[np.arange(256) % len(POINT_COLOURS)]
