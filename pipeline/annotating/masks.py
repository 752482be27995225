"""Masks of a user's own video: made from boxes, in a window or from files of other tools, and written as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...store import safe_name
from ...store.errors import ConfigError
from ..choices.hints import plural
from ..datasets.listing import list_masks
from ..datasets.masks_io import MaskSequence
from ..datasets.video import Video
from ..formats.readers import read_shapes
from ..formats.shapes import NamedMasks, draw_shapes
from ..pictures.overlay import overlay_mask
from ..pictures.selection import evenly_spaced
from ..pictures.sheet import contact_sheet, write_picture
from ..tasks.masks.png import write_mask
from .editor import MaskEditor
from .segmenters import Prompt, Segmenter, fill_box

_Ids = npt.NDArray[np.uint8]

# A note names objects of which others cover more than this share.
_COVERED = 0.5

#: Number of pictures on the sheet of overlays.
_PICTURES = 8


def read_masks(video: Video, folder: Path) -> dict[int, _Ids]:
    """Read the masks of a video's frames in a folder, by index of the frame; none if the folder is absent."""
    masks = MaskSequence(list_masks(folder))
    index_of = {name: index for index, name in enumerate(video.frames.names)}
    return {index_of[name]: masks.read(name, video.frames.size) for name in masks.paths if name in index_of}


def masks_from_boxes(
    video: Video,
    boxes: Sequence[tuple[float, float, float, float]],
    segment: Segmenter,
    *,
    outside: Sequence[tuple[int, int]] = (),
    frame: int,
    number: int,
    masks: Mapping[int, _Ids],
) -> NamedMasks:
    """Make masks of the objects in boxes of one frame; where they overlap, the smaller box's object is in front.

    Parameters
    ----------
    video
        The video.
    boxes
        x, y, width and height of each object, in pixels of the frame.
    segment
        Makes a mask from a box and pixels.
    outside
        x and y of pixels that do not belong to an object, where they are in its box.
    frame
        Index of the frame.
    number
        Number of the first object; the others count up.
    masks
        Masks that are there already; they keep their other objects.

    Raises
    ------
    ConfigError
        For a box outside of the frame, or more than 254 objects.
    """
    height, width = video.frames.size
    if number + len(boxes) > 255:
        raise ConfigError("objects have numbers from 1 to 254")
    picture = video.frames.read(frame)
    ids = masks.get(frame, np.zeros((height, width), np.uint8)).copy()
    ids[np.isin(ids, range(number, number + len(boxes)))] = 0
    areas = dict(zip(*(part.tolist() for part in np.unique(ids[ids > 0], return_counts=True)), strict=True))
    notes = {}
    for at, (x, y, wide, high) in sorted(enumerate(boxes, start=number), key=lambda item: -item[1][2] * item[1][3]):
        left, right = (round(min(max(value, 0), width)) for value in (x, x + wide))
        top, bottom = (round(min(max(value, 0), height)) for value in (y, y + high))
        if right - left < 1 or bottom - top < 1:
            raise ConfigError(
                f"the box {x:g},{y:g},{wide:g},{high:g} has no pixel of the frame, which is {width}x{height} pixels"
            )
        points = tuple((x, y, False) for x, y in outside if left <= x < right and top <= y < bottom)
        found = segment(picture, Prompt(box=(left, top, right - left, bottom - top), points=points))
        share = found.sum() / ((right - left) * (bottom - top))
        whole = share == 1 and segment is not fill_box
        advice = ": nothing in it looks like its surroundings; --not X,Y names pixels of those" if whole else ""
        notes[at] = f"object {at} fills {100 * share:.0f} % of its box{advice}"
        ids[found] = at
        areas[at] = int(found.sum())
    for at, area in areas.items():
        covered = 1 - (ids == at).sum() / area if area else 0.0
        if covered > _COVERED:
            notes[at] = f"object {at}: others cover {100 * covered:.0f} % of it; --object {at} --box … puts it on top"
    return NamedMasks(masks={**masks, frame: ids}, notes=[notes[at] for at in sorted(notes)])


def import_masks(video: Video, path: Path, *, frame: int | None = None) -> NamedMasks:
    """Read masks in another tool's format; see `read_shapes` and `draw_shapes`.

    Raises
    ------
    LabelError
        If they cannot be read, or do not fit the video.
    """
    return draw_shapes(read_shapes(path), video.frames.names, video.frames.size, frame=frame)


def edit_masks(video: Video, segment: Segmenter, *, frame: int, masks: Mapping[int, _Ids]) -> NamedMasks:
    """Let the user make masks in a window.

    Raises
    ------
    ConfigError
        If there is no display, or the window is closed without a mask.
    """
    from .window import edit_in_window

    editor = MaskEditor(video.frames.read, video.frames.names, segment, masks, frame=frame)
    edit_in_window(editor, f"{video.name}: masks")
    if not editor.masks:
        raise ConfigError("the window was closed without a mask, and nothing was written")
    return NamedMasks(masks=editor.masks)


def write_masks(video: Video, found: NamedMasks, out: Path, *, alone: bool = False) -> tuple[Path, Path]:
    """Write masks as palette PNGs named like their frames, and a sheet of them over the frames.

    Parameters
    ----------
    video, found
        The video and its masks.
    out
        Folder of masks of all videos.
    alone
        Whether masks of other frames that are there are removed.

    Returns
    -------
    (Path, Path)
        The folder of the masks, and the sheet.
    """
    name = safe_name(video.name)
    folder, sheet = out / name, out / "overlays" / f"{name}.png"
    frames = video.frames
    written = {write_mask(folder / f"{frames.names[index]}.png", ids) for index, ids in found.masks.items()}
    for path in set(list_masks(folder).values()) - written if alone else ():
        path.unlink()
    shown = sorted(found.masks)
    shown = [shown[at] for at in evenly_spaced(len(shown), _PICTURES)]
    numbers = sorted({int(number) for ids in found.masks.values() for number in np.unique(ids)} - {0})
    picture = contact_sheet(
        [(f"frame {frames.names[at]}", overlay_mask(frames.read(at), found.masks[at])) for at in shown],
        title=f"{video.name}: {plural(len(found.masks), 'annotated frame')}",
        legend={number: found.names.get(number, f"object {number}") for number in numbers},
    )
    return folder, write_picture(sheet, picture)
