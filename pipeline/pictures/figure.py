"""Figures for papers: rows of frames as PDF or SVG, with text that stays text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from ..runs.files import written_whole
from .palette import display_palette

#: Width of a page of two columns in inches, size of text in points, height of a line of text in inches.
_WIDTH, _POINTS, _LINE = 6.9, 8, 0.17


def write_figure(
    path: Path,
    rows: Mapping[str, Sequence[npt.NDArray[np.uint8]]],
    names: Sequence[str],
    legend: Mapping[int, str] | None = None,
) -> Path:
    """Draw a grid of pictures, as wide as a page of two columns; the same input gives the same bytes.

    The path ends in ``.pdf`` or ``.svg``. `rows` holds pictures (height, width, 3), RGB, of one size by the title of
    their row; `names` are the titles of the columns. The legend, names by object number, is below the grid in the
    objects' colours.
    """
    form = path.suffix.lower().removeprefix(".")
    height, width = next(iter(rows.values()))[0].shape[:2]
    side = (_WIDTH - _LINE) / len(names) * height / width
    lines = _LINE * (2 if legend else 1)
    # Fonts are embedded as TrueType (42), which publishers ask for; text in SVG stays text.
    options = {"font.size": _POINTS, "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "ted"}
    with matplotlib.rc_context(options):
        layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
        figure = Figure(figsize=(_WIDTH, side * len(rows) + lines), layout=layout)
        grid = figure.subplots(len(rows), len(names), squeeze=False)
        for axes, (title, pictures) in zip(grid, rows.items(), strict=True):
            axes[0].set_ylabel(title)
            for ax, picture in zip(axes, pictures, strict=True):
                ax.imshow(picture, interpolation="none")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
        for ax, name in zip(grid[0], names, strict=True):
            ax.set_title(name, fontsize=_POINTS, pad=2)
        if legend:
            colours = display_palette() / 255
            marks = [Rectangle((0, 0), 1, 1, color=colours[number]) for number in legend]
            small = {"frameon": False, "handlelength": 0.7, "handleheight": 0.7, "borderpad": 0}
            figure.legend(marks, list(legend.values()), loc="outside lower center", ncols=len(legend), **small)
        undated = {"CreationDate" if form == "pdf" else "Date": None}
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=form, dpi=300, metadata=undated)
    return path
