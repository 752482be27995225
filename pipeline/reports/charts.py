"""Line charts as inline SVG; the page's style sheet gives the colours, by class.

Elements are built with ElementTree, so names may contain any character.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

#: Units of the viewBox: size, and margins at the left, right, top and bottom.
_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 30, 46
_MARKERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),  # a circle
    ((-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)),
    ((0, -4.8), (4.4, 3.4), (-4.4, 3.4)),
    ((0, -5), (5, 0), (0, 5), (-5, 0)),
)
_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart, or the bars of one column of a table."""

    name: str  # name in the legend
    values: Sequence[float | None]  # one value per x or per row; None leaves a gap
    index: int = 0  # chooses colour and marker. A result has the same index everywhere.
    control: bool = False  # draw dashed and hollow

    def css(self, kind: str) -> str:
        """Return the CSS classes of an element of this series."""
        return f"{kind} s{self.index % _COLOURS}" + (" control" if self.control else "")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Map values to coordinates: the first and last value of an axis to `ends`, by ratios if logarithmic."""

    values: tuple[float, float]
    ends: tuple[float, float]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value; the middle of the axis if its two values are equal."""
        first, last, here = (math.log(x) if self.logarithmic else x for x in (*self.values, value))
        share = (here - first) / (last - first) if last != first else 0.5
        return self.ends[0] + share * (self.ends[1] - self.ends[0])


def line_chart(
    chart_id: str,
    *,
    title: str,
    x_label: str,
    y_label: str,
    x: Sequence[float],
    series: Sequence[Series],
    levels: Sequence[Series] = (),
    logarithmic: bool = False,
    scattered: bool = False,
) -> Markup:
    """Draw lines over a numeric axis, whose values `x` rise.

    `chart_id` is the prefix of the ids of the chart's elements; screen readers announce the title. `levels` are
    horizontal lines: series of one value, which is known. Where lines are scattered, each has its own x values: points
    are connected across gaps, and ticks are at round numbers.
    """
    known = [value for line in (*series, *levels) for value in line.values if value is not None]
    ids = f"{chart_id}-title", f"{chart_id}-desc"
    view = f"0 0 {_WIDTH} {_HEIGHT}"
    svg = Element("svg", {"viewBox": view, "role": "img", "aria-labelledby": " ".join(ids)})
    _add(svg, "title", None, title, id=ids[0])
    _add(svg, "desc", None, _describe(x_label, y_label, x, series, levels), id=ids[1])
    if not known:
        _text(svg, _WIDTH / 2, _HEIGHT / 2, "no values", anchor="middle")
        return _markup(svg)
    y_ticks = nice_ticks(min(known), max(known))
    x_ticks = nice_ticks(x[0], x[-1]) if scattered else x
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    across = Scale(values=(x_ticks[0], x_ticks[-1]), ends=(_LEFT + 10, right - 10), logarithmic=logarithmic)
    down = Scale(values=(y_ticks[0], y_ticks[-1]), ends=(bottom, _TOP))
    for tick in y_ticks:
        _line(svg, _LEFT, down(tick), right, down(tick), "grid")
        _text(svg, _LEFT - 6, down(tick) + 4, f"{tick:g}", anchor="end")
    for tick in spaced_ticks(x_ticks, across, 36):
        _line(svg, across(tick), bottom, across(tick), bottom + 4, "axis")
        _text(svg, across(tick), bottom + 18, f"{tick:g}", anchor="middle")
    _line(svg, _LEFT, bottom, right, bottom, "axis")
    _text(svg, (_LEFT + right) / 2, _HEIGHT - 6, x_label, anchor="middle", css="label")
    _text(svg, 4, 13, y_label, anchor="start", css="label")
    for level in levels:
        y = down(level.values[0] or 0)
        _line(svg, _LEFT, y, right, y, level.css("line level"))
    for line in series:
        group = _add(svg, "g", line.css("series"))
        points = [
            None if value is None else (across(at), down(value)) for at, value in zip(x, line.values, strict=True)
        ]
        if scattered:
            points = [point for point in points if point]
        for run in ([point for point in run if point] for there, run in groupby(points, key=bool) if there):
            if len(run) > 1:
                _add(group, "polyline", "line", points=_pairs(run))
            for point in run:
                _marker(group, line.index, *point)
    return _markup(svg)


def legend_key(series: Series, *, level: bool = False) -> Markup:
    """Draw the legend's sample of a series, or of a horizontal level line."""
    svg = Element("svg", {"viewBox": "0 0 30 12", "class": "key", "aria-hidden": "true"})
    group = _add(svg, "g", series.css("series"))
    _line(group, 1, 6, 29, 6, "line level" if level else "line")
    if not level:
        _marker(group, series.index, 15, 6)
    return _markup(svg)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Choose at most `most` (3 or more) rising ticks that enclose [low, high], 1, 2 or 5 times a power of ten apart."""
    if high <= low:
        low, high = low - 0.05, high + 0.05
    power = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * power
        # The tolerance avoids another tick where a value lies on a tick up to rounding.
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    digits = max(0, -math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]


def spaced_ticks(ticks: Sequence[float], scale: Callable[[float], float], least: float) -> list[float]:
    """Choose ticks, of rising ones, that are at least `least` apart when drawn; the first and the last if they fit."""
    chosen = list(ticks[:1])
    for tick in ticks[1:-1]:
        if min(scale(tick) - scale(chosen[-1]), scale(ticks[-1]) - scale(tick)) >= least:
            chosen.append(tick)
    if len(ticks) > 1 and scale(ticks[-1]) - scale(chosen[-1]) >= least:
        chosen.append(ticks[-1])
    return chosen


def _describe(
    x_label: str, y_label: str, x: Sequence[float], series: Sequence[Series], levels: Sequence[Series]
) -> str:
    """Describe a chart in words, for screen readers."""
    parts = []
    for line in series:
        known = [(value, here) for value, here in zip(line.values, x, strict=True) if value is not None]
        if known:
            (top, best), (low, worst) = max(known), min(known)
            parts.append(
                f"{line.name}: {len(known)} values, highest {top:.3f} at {x_label} {best:g}, lowest {low:.3f} at "
                f"{x_label} {worst:g}"
            )
    parts += [f"{level.name}: {level.values[0]:.3f} throughout" for level in levels]
    return f"{y_label}. " + "; ".join(parts) + ". The numbers are in the table below."


def _add(parent: Element, tag: str, css: str | None, text: str | None = None, **attributes: Any) -> Element:
    values = {} if css is None else {"class": css}
    values |= {name.replace("_", "-"): x if isinstance(x, str) else _round(x) for name, x in attributes.items()}
    element = SubElement(parent, tag, values)
    element.text = text
    return element


def _line(parent: Element, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
    _add(parent, "line", css, x1=x1, y1=y1, x2=x2, y2=y2)


def _text(parent: Element, x: float, y: float, text: str, *, anchor: str, css: str = "tick") -> None:
    _add(parent, "text", css, text, x=x, y=y, text_anchor=anchor)


def _marker(parent: Element, index: int, x: float, y: float) -> None:
    """Draw a marker, whose shape tells series apart where colours do not."""
    corners = _MARKERS[index % len(_MARKERS)]
    if corners:
        _add(parent, "polygon", "mark", points=_pairs([(x + dx, y + dy) for dx, dy in corners]))
    else:
        _add(parent, "circle", "mark", cx=x, cy=y, r=4)


def _pairs(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_round(x)},{_round(y)}" for x, y in points)


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _markup(svg: Element) -> Markup:
    return Markup(tostring(svg, encoding="unicode"))
