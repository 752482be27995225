"""Line charts and bar charts as inline SVG; the page's style sheet gives the colours, by class.

Elements are built with ElementTree, so names may contain any character.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

__all__ = ["Scale", "Series", "bar_chart", "legend_key", "line_chart", "nice_ticks", "spaced_ticks"]

#: Units of the viewBox. Line charts: size, and margins at the left, right, top and bottom.
_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 30, 46
#: Bar charts: column of group names, column of numbers, bar thickness, gap between groups, line of a name above bars.
_NAMES, _NUMBERS, _BAR, _GAP, _NAME_LINE = 132, 44, 13, 9, 17
#: Longest group name, in letters: beside its bars, and above them.
_LETTERS, _LETTERS_ABOVE = 18, 58
_MARKERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),  # a circle
    ((-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)),
    ((0, -4.8), (4.4, 3.4), (-4.4, 3.4)),
    ((0, -5), (5, 0), (0, 5), (-5, 0)),
)
_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a line chart, or one bar in each group of a bar chart.

    Attributes
    ----------
    name
        Name in the legend.
    values
        One value per x or per group; None leaves a gap.
    index
        Chooses colour and marker. A result has the same index in all charts.
    control
        Draw dashed and hollow.
    """

    name: str
    values: Sequence[float | None]
    index: int = 0
    control: bool = False

    def css(self, kind: str) -> str:
        """Return the CSS classes of an element of this series."""
        return f"{kind} s{self.index % _COLOURS}" + (" control" if self.control else "")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Map values to coordinates.

    Attributes
    ----------
    values
        First and last value of the axis; both positive if logarithmic.
    ends
        Coordinates of these two values.
    logarithmic
        Whether equal distances are equal ratios.
    """

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
    """Draw lines over a numeric axis.

    Parameters
    ----------
    chart_id
        Prefix of the ids of the chart's elements.
    title
        Text that screen readers announce.
    x_label, y_label
        Labels of the axes.
    x
        Values of the x axis, in rising order.
    series
        Lines with one value per x.
    levels
        Horizontal lines: series of one value.
    logarithmic
        Use a logarithmic x axis.
    scattered
        Each line has its own x values: connect its points across gaps, and put ticks at round numbers.
    """
    known = [value for line in (*series, *levels) for value in line.values if value is not None]
    svg = _svg(chart_id, _HEIGHT, title, _describe(x_label, y_label, x, series, levels))
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
        _text(svg, _LEFT - 6, down(tick) + 4, _number(tick), anchor="end")
    for tick in spaced_ticks(x_ticks, across, 36):
        _line(svg, across(tick), bottom, across(tick), bottom + 4, "axis")
        _text(svg, across(tick), bottom + 18, _number(tick), anchor="middle")
    _line(svg, _LEFT, bottom, right, bottom, "axis")
    _text(svg, (_LEFT + right) / 2, _HEIGHT - 6, x_label, anchor="middle", css="label")
    _text(svg, 4, 13, y_label, anchor="start", css="label")
    for level in levels:
        for value in level.values:
            if value is not None:
                _line(svg, _LEFT, down(value), right, down(value), level.css("line level"))
    for line in series:
        group = _add(svg, "g", line.css("series"))
        points = [None if y is None else (across(at), down(y)) for at, y in zip(x, line.values, strict=True)]
        for run in _runs([point for point in points if point] if scattered else points):
            if len(run) > 1:
                _add(group, "polyline", "line", points=_pairs(run))
            for point in run:
                _marker(group, line.index, *point)
    return _markup(svg)


def bar_chart(
    chart_id: str, *, title: str, label: str, names: Sequence[str], series: Sequence[Series], longest: float
) -> Markup:
    """Draw groups of horizontal bars that start at 0.

    Parameters
    ----------
    chart_id, title
        As in `line_chart`.
    label
        Label of the axis.
    names
        Names of the groups, from top to bottom. Long names are cut; their tool tips are complete.
    series
        One value per group.
    longest
        Value of a bar of full length.
    """
    above = any(len(name) > _LETTERS for name in names)
    left, name_line, letters = (8, _NAME_LINE, _LETTERS_ABOVE) if above else (_NAMES, 0, _LETTERS)
    top = 8
    step = _GAP + name_line + _BAR * len(series)
    bottom = top + step * len(names)
    svg = _svg(chart_id, bottom + 40, title, _describe("", label, names, series, ()))
    across = Scale(values=(0, longest), ends=(left, _WIDTH - _NUMBERS))
    for tick in nice_ticks(0, longest):
        if tick <= longest:
            _line(svg, across(tick), top - 4, across(tick), bottom, "grid")
            _text(svg, across(tick), bottom + 14, _number(tick), anchor="middle")
    for group, name in enumerate(names):
        y = top + group * step
        cut = name if len(name) <= letters else f"{name[: letters - 1]}…"
        x, dy, anchor = (left + 4, name_line - 4, "start") if above else (left - 6, (step - _GAP) / 2 + 4, "end")
        text = _text(svg, x, y + dy, cut, anchor=anchor)
        if cut != name:
            _add(text, "title", None, name)
        for number, bars in enumerate(series):
            value, start = bars.values[group], y + name_line + number * _BAR
            end = left if value is None else across(max(0.0, min(value, longest)))
            if value is not None:
                _add(svg, "rect", bars.css("bar"), x=left, y=start + 1, width=end - left, height=_BAR - 2)
            _text(svg, end + 4, start + 10, "–" if value is None else f"{value:.3f}", anchor="start", css="small")
    _line(svg, left, top - 4, left, bottom, "axis")
    _text(svg, (left + _WIDTH - _NUMBERS) / 2, bottom + 34, label, anchor="middle", css="label")
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
    x_label: str, y_label: str, x: Sequence[float | str], series: Sequence[Series], levels: Sequence[Series]
) -> str:
    """Describe a chart in words, for screen readers."""
    at = f"at {x_label}" if x_label else "for"
    parts = []
    for line in series:
        known = [(value, here) for value, here in zip(line.values, x, strict=True) if value is not None]
        if known:
            top, low = max(known, key=lambda item: item[0]), min(known, key=lambda item: item[0])
            parts.append(
                f"{line.name}: {len(known)} values, highest {top[0]:.3f} {at} {_number(top[1])}, lowest {low[0]:.3f} "
                f"{at} {_number(low[1])}"
            )
    parts += [
        f"{level.name}: {value:.3f} throughout" for level in levels for value in level.values if value is not None
    ]
    return f"{y_label}. " + "; ".join(parts) + ". The numbers are in the table below."


def _svg(chart_id: str, height: float, title: str, description: str) -> Element:
    ids = f"{chart_id}-title", f"{chart_id}-desc"
    view = f"0 0 {_WIDTH} {_round(height)}"
    svg = Element("svg", {"viewBox": view, "role": "img", "aria-labelledby": " ".join(ids)})
    _add(svg, "title", None, title, id=ids[0])
    _add(svg, "desc", None, description, id=ids[1])
    return svg


def _add(parent: Element, tag: str, css: str | None, text: str | None = None, **attributes: Any) -> Element:
    values = {} if css is None else {"class": css}
    values |= {name.replace("_", "-"): x if isinstance(x, str) else _round(x) for name, x in attributes.items()}
    element = SubElement(parent, tag, values)
    element.text = text
    return element


def _line(parent: Element, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
    _add(parent, "line", css, x1=x1, y1=y1, x2=x2, y2=y2)


def _text(parent: Element, x: float, y: float, text: str, *, anchor: str, css: str = "tick") -> Element:
    return _add(parent, "text", css, text, x=x, y=y, text_anchor=anchor)


def _marker(parent: Element, index: int, x: float, y: float) -> None:
    """Draw a marker, whose shape tells series apart where colours do not."""
    corners = _MARKERS[index % len(_MARKERS)]
    if corners:
        _add(parent, "polygon", "mark", points=_pairs([(x + dx, y + dy) for dx, dy in corners]))
    else:
        _add(parent, "circle", "mark", cx=x, cy=y, r=4)


def _runs(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Split points at the gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _pairs(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_round(x)},{_round(y)}" for x, y in points)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _markup(svg: Element) -> Markup:
    return Markup(tostring(svg, encoding="unicode"))
