"""Draw figures of a sweep with matplotlib: curves, heat maps and bars; pyplot's global state is not used."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..files import written_whole

#: Okabe and Ito's colours, which people of any colour vision tell apart; yellow is too light for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "os^Dv*"
_INK, _FAINT = "#333333", "#d9d9d9"


def draw_curves(
    path: Path,
    *,
    title: str,
    x_label: str,
    x: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    legend: str,
    logarithmic: bool,
) -> Path:
    """Draw curves over one parameter with the values `x`, rising.

    Panels hold values by name of the measure, then by name of the line (at most 6); NaN leaves a gap. `legend` is the
    name of the parameter that differs between lines.
    """
    figure = _figure(0.6 + 3.7 * len(panels), 3.9)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (measure, lines) in zip(axes, panels.items(), strict=True):
        for number, (name, values) in enumerate(lines.items()):
            ax.plot(
                x,
                values,
                label=name,
                color=_COLOURS[number % len(_COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=5,
                linewidth=1.8,
            )
        _tidy(ax)
        ax.set_title(measure, fontsize=11, color=_INK)
        ax.set_xlabel(x_label)
        _scale(ax, x, logarithmic)
    if len(next(iter(panels.values()))) > 1:
        handles, names = axes[0].get_legend_handles_labels()
        columns = len(names) if sum(map(len, names)) + 6 * len(names) < 34 * len(panels) else min(2, len(panels))
        figure.legend(handles, names, title=legend, loc="outside lower center", ncols=columns, frameon=False)
    return _save(figure, path, title)


def draw_heatmap(
    path: Path,
    *,
    title: str,
    measure: str,
    labels: tuple[str, str],
    ticks: tuple[Sequence[str], Sequence[str]],
    values: Sequence[Sequence[float]],
    best: tuple[int, int] | None,
) -> Path:
    """Draw a heat map of values (y, x) over two parameters; NaN leaves a cell empty, and `best` is marked."""
    table = np.asarray(values, dtype=float)
    rows, columns = table.shape
    wide = max(len(text) for text in ticks[1]) > 6
    figure = _figure(2.6 + max(0.62 * columns, 2.6), 1.9 + max(0.42 * rows, 1.4) + (0.8 if wide else 0))
    ax = figure.subplots()
    image = ax.imshow(table, cmap="cividis", aspect="auto", origin="lower")
    ax.set_xticks(range(columns), ticks[1], rotation=30 if wide else 0, ha="right" if wide else "center")
    ax.set_yticks(range(rows), ticks[0])
    ax.set_ylabel(labels[0])
    ax.set_xlabel(labels[1])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    if table.size <= 200:
        middle = (np.nanmin(table) + np.nanmax(table)) / 2
        for y, x in np.argwhere(np.isfinite(table)):
            colour = "black" if table[y, x] > middle else "white"
            ax.text(x, y, f"{table[y, x]:.3f}", ha="center", va="center", fontsize=8, color=colour)
    if best is not None:
        corner = best[1] - 0.5, best[0] - 0.5
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5, clip_on=False))
    figure.colorbar(image, ax=ax, label=measure, pad=0.02)
    return _save(figure, path, title)


def draw_bars(
    path: Path, *, title: str, measure: str, names: Sequence[str], bars: Mapping[str, Sequence[float]]
) -> Path:
    """Draw horizontal bars in [0, 1], a group for each name, from top to bottom.

    `bars` holds a value for each group, by name of the bar, at most 3 names; the last one is emphasised.
    """
    thickness = 0.8 / len(bars)
    figure = _figure(7.5, 1.9 + len(names) * (0.16 + 0.2 * len(bars)))
    ax = figure.subplots()
    centres = np.arange(len(names))
    for number, (name, values) in enumerate(bars.items()):
        offset = (number - (len(bars) - 1) / 2) * thickness
        colour = (_COLOURS[4], _COLOURS[0], "#999999")[len(bars) - 1 - number]
        drawn = ax.barh(centres + offset, values, height=0.9 * thickness, color=colour, label=name)
        ax.bar_label(drawn, fmt="%.3f", fontsize=8, padding=2, color=_INK)
    _tidy(ax)
    ax.grid(visible=False, axis="y")
    ax.set_yticks(centres, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1.08)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set_xlabel(measure)
    figure.legend(loc="outside lower center", ncols=len(bars), frameon=False)
    return _save(figure, path, title)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(ax: Axes) -> None:
    ax.grid(visible=True, color=_FAINT, linewidth=0.8)
    ax.set_axisbelow(True)
    for name, side in ax.spines.items():
        side.set_visible(name in ("left", "bottom"))
        side.set_color("#888888")
    ax.tick_params(color="#888888", labelcolor=_INK)


def _scale(ax: Axes, x: Sequence[float], logarithmic: bool) -> None:
    """Mark the values at the axis."""
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    step = -(-len(x) // 11)
    ax.xaxis.set_major_locator(FixedLocator(list(x)[::step]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _save(figure: Figure, path: Path, title: str) -> Path:
    lines = textwrap.wrap(title, width=int(figure.get_figwidth() / 0.088), break_on_hyphens=False)
    figure.set_figheight(figure.get_figheight() + 0.2 * (len(lines) - 1))
    figure.suptitle("\n".join(lines), fontsize=11, color=_INK)
    with written_whole(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    return path
