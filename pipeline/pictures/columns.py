"""Frames in rows and ways of showing them in columns: a contact sheet of a few frames, a movie of all."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ...extract.frames import FrameSource
from .movie import write_movie
from .sheet import contact_sheet, write_picture

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One way of showing the frames of a video.

    `draw` yields pictures (height, width, 3), RGB, of the frames with the given rising indices. All columns of a sheet
    have pictures of one size.
    """

    title: str
    draw: Callable[[Sequence[int]], Iterator[Picture]]


@dataclass(frozen=True, kw_only=True)
class PictureOutput:
    """Files to write, by their path without suffix, and the rising indices of the frames on the sheet.

    `fps` are the frames per second of a movie of all frames, None for no movie; `progress` is called with the number
    of movie frames just written. `figure` is the file of a figure for papers (see `write_figure`), or None.
    """

    base: Path
    frames: Sequence[int]
    fps: float | None = None
    figure: Path | None = None
    progress: Callable[[int], None] = lambda frames: None


def frame_column(frames: FrameSource, title: str = "frame") -> Column:
    """Return the column of the plain frames."""
    return Column(title=title, draw=lambda indices: map(frames.read, indices))


def write_columns(
    columns: Sequence[Column],
    names: Sequence[str],
    output: PictureOutput,
    *,
    title: str,
    legend: Mapping[int, str] | None = None,
    footer: Picture | None = None,
) -> list[Path]:
    """Write a sheet with one row per frame (a single column is arranged as a grid) and, if asked for, a movie.

    `names` are those of all frames of the video; title, legend and footer as in `contact_sheet`. Each frame of the
    movie is a row of the sheet. A figure has a row per column. Returns the PNG file, and the MP4 file and the figure if
    there are any.
    """
    headings = [column.title for column in columns] if len(columns) > 1 else []

    def rows(frames: Sequence[int]) -> Iterator[list[tuple[str, Picture]]]:
        drawn = zip(*(column.draw(frames) for column in columns), strict=True)
        for frame, pictures in zip(frames, drawn, strict=True):
            yield [(names[frame] if not number else "", picture) for number, picture in enumerate(pictures)]

    def sheet(pictures: list[tuple[str, Picture]], number: int | None) -> Picture:
        return contact_sheet(pictures, title=title, legend=legend, columns=number, headings=headings, footer=footer)

    shown = sheet([picture for row in rows(output.frames) for picture in row], len(columns) if headings else None)
    written = write_pictures(output, shown, (sheet(row, len(columns)) for row in rows(range(len(names)))))
    if output.figure is not None:
        from .figure import write_figure  # needs matplotlib

        pictures = {column.title: list(column.draw(output.frames)) for column in columns}
        written.append(write_figure(output.figure, pictures, [names[frame] for frame in output.frames], legend))
    return written


def write_pictures(output: PictureOutput, sheet: Picture, movie: Iterable[Picture]) -> list[Path]:
    """Write a sheet and, if `output` has a frame rate, a movie; return the paths. Other movies are not drawn."""
    written = [write_picture(output.base.with_name(f"{output.base.name}.png"), sheet)]
    if output.fps is not None:

        def drawn() -> Iterator[Picture]:
            for picture in movie:
                yield picture
                output.progress(1)

        written.append(write_movie(output.base.with_name(f"{output.base.name}.mp4"), drawn(), fps=output.fps))
    return written


def enlarge_cells(cells: Picture, size: tuple[int, int]) -> Picture:
    """Enlarge cells (y, x, 3) to the frame of `size` (height, width) that they cover, without blurring them."""
    return np.asarray(cv2.resize(cells, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def enlarge_frame(frame: Picture, least: int) -> Picture:
    """Enlarge a frame (height, width, 3) whose longer side has fewer than `least` pixels."""
    factor = least / max(frame.shape[:2])
    if factor <= 1:
        return frame
    size = round(frame.shape[1] * factor), round(frame.shape[0] * factor)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
