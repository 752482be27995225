"""Pictures of a video's result: a contact sheet and a movie of its masks, boxes or points over its frames."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...store.durable import explain_os_errors
from ...store.layout import safe_name
from ..datasets.masks_io import read_mask
from ..datasets.video import Video
from ..tasks.boxes.results import BoxResult
from .marks import result_marks
from .movie import write_movie
from .overlay import object_colour, overlay_boxes, overlay_mask
from .point_pictures import point_legend
from .selection import evenly_spaced
from .sheet import contact_sheet, write_picture

__all__ = ["write_box_overlay", "write_overlay", "write_point_overlay"]

_SHOWN = 9  # frames on the sheet


def write_overlay(video: Video, masks: Path, out: Path, *, title: str, fps: float = 12.0) -> tuple[Path, Path]:
    """Draw masks over their frames.

    Parameters
    ----------
    video
        The frames.
    masks
        Folder of the video's masks.
    out
        Folder to write to.
    title
        Written above the contact sheet.
    fps
        Frames per second of the movie.

    Returns
    -------
    (Path, Path)
        A contact sheet of nine frames (PNG) and a movie of all (MP4).
    """
    index_of = {name: index for index, name in enumerate(video.frames.names)}
    names = video.written_frames()

    def drawn(number: int) -> NDArray[np.uint8]:
        return overlay_mask(video.frames.read(index_of[names[number]]), read_mask(masks / f"{names[number]}.png"))

    shown = evenly_spaced(len(names), _SHOWN)
    objects = sorted({int(i) for at in shown for i in np.unique(read_mask(masks / f"{names[at]}.png")) if i})
    return _write(out / safe_name(video.name), names, drawn, {i: f"object {i}" for i in objects}, title=title, fps=fps)


def write_box_overlay(video: Video, folder: Path, out: Path, *, title: str, fps: float = 12.0) -> tuple[Path, Path]:
    """Draw boxes over their frames; parameters and result as of `write_overlay`."""
    result = BoxResult.read(folder)
    ids = result.ids.tolist()

    def drawn(frame: int) -> NDArray[np.uint8]:
        return overlay_boxes(video.frames.read(frame), dict(zip(ids, result.boxes[:, frame].tolist(), strict=True)))

    legend = {object_colour(i): f"object {i}" for i in ids}
    return _write(out / safe_name(video.name), result.frames, drawn, legend, title=title, fps=fps)


def write_point_overlay(video: Video, folder: Path, out: Path, *, title: str, fps: float = 12.0) -> tuple[Path, Path]:
    """Draw joints or points over their frames; parameters and result as of `write_overlay`."""
    marks = result_marks(folder)

    def drawn(frame: int) -> NDArray[np.uint8]:
        return marks.draw(video.frames.read(frame), frame)

    return _write(out / safe_name(video.name), marks.frames, drawn, point_legend(marks), title=title, fps=fps)


def _write(
    base: Path,
    names: Sequence[str],
    drawn: Callable[[int], NDArray[np.uint8]],
    legend: Mapping[int, str],
    *,
    title: str,
    fps: float,
) -> tuple[Path, Path]:
    with explain_os_errors(f"write {base.parent}"):
        movie = write_movie(base.with_name(f"{base.name}.mp4"), map(drawn, range(len(names))), fps=fps)
        shown = [(names[index], drawn(index)) for index in evenly_spaced(len(names), _SHOWN)]
        sheet = contact_sheet(shown, title=title, legend=legend)
        return write_picture(base.with_name(f"{base.name}.png"), sheet), movie
