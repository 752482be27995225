"""Naming frames and pixels of a video, and finding them on feature grids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from .sheet import evenly_spaced

__all__ = ["Point", "cell_of", "choose_frames", "frame_index", "parse_point", "sample_cells", "spaced_around"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A pixel of a video.

    Attributes
    ----------
    frame
        Index of the frame.
    x, y
        Column and row of the pixel in the original frame, from 0 at the left and at the top.
    """

    frame: int
    x: int
    y: int


def frame_index(text: str, names: Sequence[str]) -> int:
    """Return the index of a frame: of the one with this name, or else of this number, counted from 0.

    Raises
    ------
    ConfigError
        When there is none.
    """
    text = text.strip()
    if text in names:
        return names.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(names):
        return int(text)
    raise ConfigError(
        f"there is no frame {text!r}: the video has {len(names)}, named {names[0]} to {names[-1]} and numbered from 0; "
        "give a name or a number"
    )


def choose_frames(text: str | None, names: Sequence[str], count: int) -> list[int]:
    """Return indices of frames, rising: those listed, by name or number and separated by commas, or evenly spaced ones.

    Raises
    ------
    ConfigError
        For a frame that does not exist.
    """
    if text is None:
        return evenly_spaced(len(names), count)
    return sorted({frame_index(item, names) for item in text.split(",")})


def spaced_around(count: int, wanted: int, frame: int) -> list[int]:
    """Choose evenly spaced frames, rising, of which the nearest to a given one gives way to that."""
    chosen = evenly_spaced(count, wanted)
    nearest = min(chosen, key=lambda index: abs(index - frame))
    return sorted({*chosen, frame} - ({nearest} if nearest != frame else set()))


def parse_point(text: str, names: Sequence[str], size: tuple[int, int]) -> Point:
    """Read ``FRAME:X,Y``, in pixels of the original frame, whose (height, width) is given.

    >>> parse_point("8:120,64", [f"{index:05d}" for index in range(16)], (256, 320))
    Point(frame=8, x=120, y=64)

    Raises
    ------
    ConfigError
        For anything else, a frame that does not exist, or a pixel outside of it.
    """
    frame, colon, place = text.rpartition(":")
    numbers = [number.strip() for number in place.split(",")]
    if not colon or len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ConfigError(f"point {text!r} is not FRAME:X,Y in whole pixels, such as 0:120,64")
    x, y = map(int, numbers)
    if x >= size[1] or y >= size[0]:
        raise ConfigError(f"point {text!r} lies outside of the frame, which is {size[1]}x{size[0]} (width x height)")
    return Point(frame=frame_index(frame, names), x=x, y=y)


def cell_of(x: int, y: int, size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Return the cell (y, x) of a grid that the centre of a pixel is in; the grid covers the frame of this size."""
    return (2 * y + 1) * grid[0] // (2 * size[0]), (2 * x + 1) * grid[1] // (2 * size[1])


def sample_cells(objects: npt.NDArray[np.integer], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose cells of a grid regularly on objects.

    Parameters
    ----------
    objects
        (y, x): the object that each cell belongs to; 0 for none.
    count
        How many cells are wanted, all objects together, at least 1. Each object gets the same share, and at least one.

    Returns
    -------
    cells : numpy.ndarray
        (cell, 2), y and x.
    objects : numpy.ndarray
        (cell,), the object that each is on, rising. Empty where there is no object.
    """
    numbers = [int(number) for number in np.unique(objects) if number]
    share = max(1, count // max(1, len(numbers)))
    chosen = [_lattice(np.argwhere(objects == number), share) for number in numbers]
    cells = np.concatenate([np.zeros((0, 2), dtype=np.int64), *chosen])
    return cells, np.repeat(np.asarray(numbers, dtype=np.int64), [len(some) for some in chosen])


def _lattice(cells: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return the cells on the finest square lattice, around the middle, that leaves at most so many."""
    middle = cells[((cells - cells.mean(0)) ** 2).sum(1).argmin()]
    step = 1
    while ((cells - middle) % step == 0).all(1).sum() > most:
        step += 1
    return np.asarray(cells[((cells - middle) % step == 0).all(1)])
