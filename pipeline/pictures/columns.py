"""Frames below each other, what is compared side by side: a contact sheet of a few frames, a movie of all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...extract.frames import FrameSource
from .movie import write_movie
from .sheet import contact_sheet, write_picture

__all__ = ["Column", "Look", "frame_column", "write_columns"]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One way of showing the frames of a video.

    Attributes
    ----------
    title
        Written above.
    draw
        Yields the pictures, (height, width, 3), RGB, of some frames, given by rising indices. The pictures of all
        columns have one size.
    """

    title: str
    draw: Callable[[Sequence[int]], Iterator[Picture]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is shown of a video, and where it is written to.

    Attributes
    ----------
    base
        Path of the pictures, without the suffix.
    frames
        Indices of the frames on the sheet, rising.
    fps
        Frames per second of a movie of all frames; None for no movie.
    progress
        Called with the number of frames of the movie just done.
    """

    base: Path
    frames: Sequence[int]
    fps: float | None = None
    progress: Callable[[int], None] = lambda frames: None


def frame_column(frames: FrameSource, title: str = "frame") -> Column:
    """Return the column of the frames themselves."""
    return Column(title=title, draw=lambda indices: map(frames.read, indices))


def write_columns(
    columns: Sequence[Column],
    names: Sequence[str],
    look: Look,
    *,
    title: str,
    legend: Mapping[int, str] | None = None,
    footer: Picture | None = None,
) -> list[Path]:
    """Write a sheet, one row a frame and one column a way of showing it (a single one in a grid), and maybe a movie.

    Parameters
    ----------
    columns
        At least one.
    names
        Of all frames of the video.
    look
        Which frames, and where to.
    title, legend, footer
        As `contact_sheet` has them.

    Returns
    -------
    list of Path
        The PNG, and the MP4 if there is one. Each frame of the movie is a row of the sheet.
    """
    headings = [column.title for column in columns] if len(columns) > 1 else []

    def rows(frames: Sequence[int]) -> Iterator[list[tuple[str, Picture]]]:
        drawn = zip(*(column.draw(frames) for column in columns), strict=True)
        for frame, pictures in zip(frames, drawn, strict=True):
            yield [(names[frame] if not number else "", picture) for number, picture in enumerate(pictures)]

    def sheet(pictures: list[tuple[str, Picture]], number: int | None) -> Picture:
        return contact_sheet(pictures, title=title, legend=legend, columns=number, headings=headings, footer=footer)

    shown = [picture for row in rows(look.frames) for picture in row]
    picture = sheet(shown, len(columns) if headings else None)
    written = [write_picture(look.base.with_name(f"{look.base.name}.png"), picture)]
    if look.fps is not None:

        def movie() -> Iterator[Picture]:
            for row in rows(range(len(names))):
                yield sheet(row, len(columns))
                look.progress(1)

        written.append(write_movie(look.base.with_name(f"{look.base.name}.mp4"), movie(), fps=look.fps))
    return written
