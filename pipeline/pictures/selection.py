"""Frames and pixels that users name, and regular samples of frames and of grid cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Point:
    """Column x and row y, from 0 at the left and at the top, of a pixel of an original frame, given by its index."""

    frame: int
    x: int
    y: int


def frame_index(text: str, names: Sequence[str]) -> int:
    """Return the index of the frame with this name, or else with this number, counted from 0.

    Raises
    ------
    ConfigError
        If there is no such frame.
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
    """Return rising indices of the frames in a comma-separated list of names or numbers, or of evenly spaced frames.

    Raises
    ------
    ConfigError
        If a frame does not exist.
    """
    if text is None:
        return evenly_spaced(len(names), count)
    return sorted({frame_index(item, names) for item in text.split(",")})


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """Choose at most `wanted` of `count` indices, evenly spaced, with the first and (from two on) the last."""
    if count <= wanted:
        return list(range(count))
    if wanted < 2:
        return [0][:wanted]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def spaced_around(count: int, wanted: int, frame: int) -> list[int]:
    """Choose evenly spaced frames, and replace the one nearest to `frame` by `frame`."""
    chosen = evenly_spaced(count, wanted)
    nearest = min(chosen, key=lambda index: abs(index - frame))
    return sorted({*chosen, frame} - ({nearest} if nearest != frame else set()))


def parse_point(text: str, names: Sequence[str], size: tuple[int, int]) -> Point:
    """Parse ``FRAME:X,Y``, in pixels of the original frame of `size` (height, width).

    >>> parse_point("8:120,64", [f"{index:05d}" for index in range(16)], (256, 320))
    Point(frame=8, x=120, y=64)

    Raises
    ------
    ConfigError
        If the text has another form, the frame does not exist, or the pixel lies outside of it.
    """
    frame, colon, xy = text.rpartition(":")
    numbers = [number.strip() for number in xy.split(",")]
    if not colon or len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ConfigError(f"point {text!r} is not FRAME:X,Y in whole pixels, such as 0:120,64")
    x, y = map(int, numbers)
    if x >= size[1] or y >= size[0]:
        raise ConfigError(f"point {text!r} lies outside of the frame, which is {size[1]}x{size[0]} (width x height)")
    return Point(frame=frame_index(frame, names), x=x, y=y)


def cell_of(x: int, y: int, size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Return the grid cell (y, x) that contains the centre of a pixel, for a grid that covers a frame of `size`."""
    return (2 * y + 1) * grid[0] // (2 * size[0]), (2 * x + 1) * grid[1] // (2 * size[1])


def sample_cells(objects: npt.NDArray[np.integer], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sample cells of a grid regularly on the objects, given by their number in each cell (y, x); 0 is background.

    About `count` cells (at least 1) are shared equally among the objects, which have at least one each. Returns the
    cells (cell, 2), y and x, and the object of each, in rising order.
    """
    numbers = [int(number) for number in np.unique(objects) if number]
    share = max(1, count // max(1, len(numbers)))
    chosen = [_lattice(np.argwhere(objects == number), share) for number in numbers]
    cells = np.concatenate([np.zeros((0, 2), dtype=np.int64), *chosen])
    return cells, np.repeat(np.asarray(numbers, dtype=np.int64), [len(some) for some in chosen])


def _lattice(cells: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return the cells on the finest square lattice around their middle that has at most `most` of them."""
    middle = cells[((cells - cells.mean(0)) ** 2).sum(1).argmin()]
    step = 1
    while ((cells - middle) % step == 0).all(1).sum() > most:
        step += 1
    return np.asarray(cells[((cells - middle) % step == 0).all(1)])
