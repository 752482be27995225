"""Contact sheets: labelled pictures of a video in a grid, with a legend of the objects."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ...store.errors import ConfigError
from ..runs.files import written_whole
from .palette import display_palette

__all__ = ["FAINT", "INK", "PAPER", "contact_sheet", "write_picture"]

#: RGB colours of a sheet's background, its text, and its labels.
PAPER, INK, FAINT = (255, 255, 255), (32, 32, 32), (128, 128, 128)

#: Pixels: outer margin, gap between pictures, line height; font sizes of text, title, and the smallest one.
_MARGIN, _GAP, _LINE = 24, 12, 30
_TEXT, _TITLE, _SMALLEST = 17, 24, 9


def contact_sheet(
    pictures: Sequence[tuple[str, npt.NDArray[np.uint8]]],
    *,
    title: str = "",
    legend: Mapping[int, str] | None = None,
    columns: int | None = None,
    headings: Sequence[str] = (),
    footer: npt.NDArray[np.uint8] | None = None,
    width: int = 1600,
) -> npt.NDArray[np.uint8]:
    """Arrange labelled pictures (height, width, 3), RGB, of one size in a grid, in reading order, and return the sheet.

    The legend, names by object number, is below the grid with the objects' colours; the footer, a picture such as a
    colour bar, below everything else at its own size. `columns` is by default such that the sheet is near 3:2.
    Pictures are scaled down to fit the sheet's width in pixels, never up. Raises ConfigError if there are no pictures,
    or they differ in size.
    """
    if not pictures:
        raise ConfigError("a contact sheet needs at least one picture")
    if len({picture.shape for _, picture in pictures}) > 1:
        raise ConfigError("the pictures of a contact sheet must have one size")
    height, full_width = pictures[0][1].shape[:2]
    columns = min(columns or _good_columns(len(pictures), height / full_width), len(pictures))
    cell_width = min(full_width, (width - 2 * _MARGIN - (columns - 1) * _GAP) // columns)
    cell_height = max(1, round(height * cell_width / full_width))
    width = 2 * _MARGIN + columns * cell_width + (columns - 1) * _GAP
    width = max(width, 0 if footer is None else footer.shape[1] + 2 * _MARGIN)
    heading_top = _MARGIN + (_LINE + _GAP if title else 0)
    top = heading_top + (_LINE if headings else 0)
    row_height = cell_height + _LINE + _GAP
    entries = _legend_entries(legend or {}, width)
    rows = -(-len(pictures) // columns)
    legend_top = top + rows * row_height
    legend_height = (entries[-1][3] + _LINE) if entries else -_GAP
    footer_top = legend_top + legend_height + _GAP
    footer_height = 0 if footer is None else footer.shape[0] + _GAP
    sheet = Image.new("RGB", (width, legend_top + legend_height + footer_height + _MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        title, font = _fit(title, width - 2 * _MARGIN, _TITLE)
        draw.text((_MARGIN, _MARGIN), title, fill=INK, font=font)
    for number, heading in enumerate(headings):
        heading, font = _fit(heading, cell_width, _TEXT)
        draw.text((_MARGIN + number * (cell_width + _GAP), heading_top), heading, fill=INK, font=font)
    font = ImageFont.load_default(_TEXT)
    for number, (label, picture) in enumerate(pictures):
        x = _MARGIN + number % columns * (cell_width + _GAP)
        y = top + number // columns * row_height
        scaled = cv2.resize(picture, (cell_width, cell_height), interpolation=cv2.INTER_AREA)
        sheet.paste(Image.fromarray(scaled.astype(np.uint8, copy=False)), (x, y))
        draw.text((x, y + cell_height + 5), label, fill=FAINT, font=font)
    colours = display_palette()
    for object_id, name, x, y in entries:
        box = (x, legend_top + y + 3, x + _TEXT, legend_top + y + 3 + _TEXT)
        draw.rectangle(box, fill=tuple(int(value) for value in colours[object_id]), outline=FAINT)
        draw.text((x + _TEXT + 8, legend_top + y), name, fill=INK, font=font)
    if footer is not None:
        sheet.paste(Image.fromarray(footer), (_MARGIN, footer_top))
    return np.asarray(sheet)


def write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> Path:
    """Write a picture (height, width, 3), RGB, as PNG or JPEG, by the suffix of the path; return the path."""
    with written_whole(path) as temporary:
        Image.fromarray(picture).save(temporary)
    return path


def _fit(text: str, width: int, size: int) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Return a text and a font of at most `size` for `width` pixels; text too long for the smallest font is cut."""
    needed = ImageFont.load_default(size).getlength(text)
    font = ImageFont.load_default(max(_SMALLEST, min(size, int(size * width / max(needed, 1)))))
    while font.getlength(text) > width and len(text) > 2:
        text = f"{text[:-2]}…"
    return text, font


def _good_columns(count: int, proportion: float) -> int:
    near = max(1, round(math.sqrt(1.5 * count * proportion)))
    # A full last row looks better than exact proportions.
    return next((columns for columns in (near, near + 1, max(near - 1, 2)) if count % columns == 0), near)


def _legend_entries(legend: Mapping[int, str], width: int) -> list[tuple[int, str, int, int]]:
    """Return object number, name, x and y (below the legend's top) of each entry, wrapped into lines."""
    font = ImageFont.load_default(_TEXT)
    entries: list[tuple[int, str, int, int]] = []
    x, y = _MARGIN, 0
    for object_id, name in legend.items():
        needed = _TEXT + 8 + math.ceil(font.getlength(name)) + 24
        if x > _MARGIN and x + needed > width - _MARGIN:
            x, y = _MARGIN, y + _LINE
        entries.append((object_id, name, x, y))
        x += needed
    return entries
