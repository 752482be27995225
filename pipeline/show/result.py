"""Pictures of a video's result: a contact sheet and a movie of its masks over its frames."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...store.durable import explain_os_errors
from ...store.layout import safe_name
from ..datasets.masks_io import read_mask
from ..datasets.video import Video
from .movie import write_movie
from .overlay import overlay_mask
from .sheet import contact_sheet, evenly_spaced, write_picture

__all__ = ["write_overlay"]


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

    base = out / safe_name(video.name)
    shown = evenly_spaced(len(names), 9)
    objects = sorted({int(i) for at in shown for i in np.unique(read_mask(masks / f"{names[at]}.png")) if i})
    with explain_os_errors(f"write {out}"):
        movie = write_movie(base.with_name(f"{base.name}.mp4"), map(drawn, range(len(names))), fps=fps)
        sheet = contact_sheet(
            [(names[index], drawn(index)) for index in shown],
            title=title,
            legend={i: f"object {i}" for i in objects},
        )
        return write_picture(base.with_name(f"{base.name}.png"), sheet), movie
