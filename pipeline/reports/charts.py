"""Charts as inline SVG: lines over a number, and bars. Colours come from the page's style sheet, by classes.

Elements are built, not pasted: names may hold anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from .scales import Scale, nice_ticks, thinned

__all__ = ["Series", "bar_chart", "legend_key", "line_chart"]

_WIDTH = 440
#: Margins of line charts: left, right, top, bottom.
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 30, 46
_HEIGHT = 300
#: Bars: space for the groups' names (beside their bars, or above them if one is long), for numbers, between groups.
_NAMES, _NUMBERS, _BAR, _GAP = 132, 44, 13, 9
_NAME_LINE = 17
_LETTERS, _LETTERS_ABOVE = 18, 58
_MARKS = ("circle", "square", "triangle", "diamond")
_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one line, or one bar of each group, shows.

    Attributes
    ----------
    name
        In the legend.
    values
        One for each place; None where there is none, which leaves a gap.
    place
        Chooses colour and mark: the same for the same results in all charts.
    control
        Drawn dashed and hollow.
    """

    name: str
    values: Sequence[float | None]
    place: int = 0
    control: bool = False


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
    """Draw lines over a number.

    Parameters
    ----------
    chart_id
        Begins the ids of the chart's elements.
    title
        What screen readers announce.
    x_label, y_label
        Names of the axes.
    x
        Values of the parameter, rising.
    series
        A value of each line at each x.
    levels
        Horizontal lines, of what does not vary: each of one value.
    logarithmic
        Whether the x axis is.
    scattered
        Whether each line has values of x of its own: then a line goes on over places where it has no value, and the x
        axis is marked at round numbers.
    """
    known = [value for line in (*series, *levels) for value in line.values if value is not None]
    svg = _svg(chart_id, _HEIGHT, title, _described(x_label, y_label, x, series, levels))
    if not known:
        _text(svg, _WIDTH / 2, _HEIGHT / 2, "no values", anchor="middle")
        return _markup(svg)
    ticks = nice_ticks(min(known), max(known))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    marked = nice_ticks(x[0], x[-1]) if scattered else x
    across = Scale(values=(marked[0], marked[-1]), places=(_LEFT + 10, right - 10), logarithmic=logarithmic)
    down = Scale(values=(ticks[0], ticks[-1]), places=(bottom, _TOP))
    for tick in ticks:
        _line(svg, _LEFT, down(tick), right, down(tick), "grid")
        _text(svg, _LEFT - 6, down(tick) + 4, _number(tick), anchor="end")
    places = [across(value) for value in x]
    marks = [across(value) for value in marked]
    for index in thinned(marks, 36):
        _line(svg, marks[index], bottom, marks[index], bottom + 4, "axis")
        _text(svg, marks[index], bottom + 18, _number(marked[index]), anchor="middle")
    _line(svg, _LEFT, bottom, right, bottom, "axis")
    _text(svg, (_LEFT + right) / 2, _HEIGHT - 6, x_label, anchor="middle", name="label")
    _text(svg, 4, 13, y_label, anchor="start", name="label")
    for level in levels:
        for value in level.values:
            if value is not None:
                _line(svg, _LEFT, down(value), right, down(value), _classes("line level", level))
    for line in series:
        group = ElementTree.SubElement(svg, "g", {"class": _classes("series", line)})
        spots = [
            None if value is None else (place, down(value)) for place, value in zip(places, line.values, strict=True)
        ]
        for run in _runs([spot for spot in spots if spot is not None] if scattered else spots):
            if len(run) > 1:
                points = " ".join(f"{_round(px)},{_round(py)}" for px, py in run)
                ElementTree.SubElement(group, "polyline", {"class": "line", "points": points})
            for px, py in run:
                _mark(group, line.place, px, py)
    return _markup(svg)


def bar_chart(
    chart_id: str, *, title: str, label: str, names: Sequence[str], series: Sequence[Series], longest: float
) -> Markup:
    """Draw horizontal bars, a group for each name, from 0.

    Parameters
    ----------
    chart_id, title
        As for `line_chart`.
    label
        What is shown.
    names
        Of the groups, from above; long ones are cut, and whole in their tool tips.
    series
        A value for each group.
    longest
        The value of a bar of full length.
    """
    above = any(len(name) > _LETTERS for name in names)
    left, line, letters = (8, _NAME_LINE, _LETTERS_ABOVE) if above else (_NAMES, 0, _LETTERS)
    top = 8
    step = _GAP + line + _BAR * len(series)
    bottom = top + step * len(names)
    svg = _svg(chart_id, bottom + 40, title, _described("", label, names, series, ()))
    across = Scale(values=(0, longest), places=(left, _WIDTH - _NUMBERS))
    for tick in nice_ticks(0, longest):
        if tick <= longest:
            _line(svg, across(tick), top - 4, across(tick), bottom, "grid")
            _text(svg, across(tick), bottom + 14, _number(tick), anchor="middle")
    for row, name in enumerate(names):
        begin = top + row * step
        cut = name if len(name) <= letters else f"{name[: letters - 1]}…"
        if above:
            text = _text(svg, left + 4, begin + line - 4, cut, anchor="start")
        else:
            text = _text(svg, left - 6, begin + (step - _GAP) / 2 + 4, cut, anchor="end")
        if cut != name:
            ElementTree.SubElement(text, "title").text = name
        for number, bars in enumerate(series):
            value, y = bars.values[row], begin + line + number * _BAR
            end = left if value is None else across(max(0.0, min(value, longest)))
            if value is not None:
                corner = {"x": _round(left), "y": _round(y + 1)}
                size = {"width": _round(end - left), "height": str(_BAR - 2)}
                ElementTree.SubElement(svg, "rect", {"class": _classes("bar", bars), **corner, **size})
            _text(svg, end + 4, y + 10, "–" if value is None else f"{value:.3f}", anchor="start", name="small")
    _line(svg, left, top - 4, left, bottom, "axis")
    _text(svg, (left + _WIDTH - _NUMBERS) / 2, bottom + 34, label, anchor="middle", name="label")
    return _markup(svg)


def legend_key(series: Series, *, level: bool = False) -> Markup:
    """Draw the key of a series, or of a level line, for a legend beside the chart."""
    svg = ElementTree.Element("svg", {"viewBox": "0 0 30 12", "class": "key", "aria-hidden": "true"})
    group = ElementTree.SubElement(svg, "g", {"class": _classes("series", series)})
    _line(group, 1, 6, 29, 6, "line level" if level else "line")
    if not level:
        _mark(group, series.place, 15, 6)
    return _markup(svg)


def _described(
    x_label: str,
    y_label: str,
    x: Sequence[float | str],
    series: Sequence[Series],
    levels: Sequence[Series],
) -> str:
    """Say in words what a chart shows."""
    parts = []
    for line in series:
        known = [(value, place) for value, place in zip(line.values, x, strict=True) if value is not None]
        if known:
            top, low = max(known, key=lambda item: item[0]), min(known, key=lambda item: item[0])
            at = f"at {x_label} " if x_label else "for "
            parts.append(
                f"{line.name}: {len(known)} values, highest {top[0]:.3f} {at}{_number(top[1])}, lowest {low[0]:.3f} "
                f"{at}{_number(low[1])}"
            )
    parts += [
        f"{level.name}: {value:.3f} throughout" for level in levels for value in level.values if value is not None
    ]
    return f"{y_label}. " + "; ".join(parts) + ". The numbers are in the table below."


def _svg(chart_id: str, height: float, title: str, description: str) -> ElementTree.Element:
    ids = f"{chart_id}-title", f"{chart_id}-desc"
    svg = ElementTree.Element(
        "svg", {"viewBox": f"0 0 {_WIDTH} {_round(height)}", "role": "img", "aria-labelledby": " ".join(ids)}
    )
    ElementTree.SubElement(svg, "title", {"id": ids[0]}).text = title
    ElementTree.SubElement(svg, "desc", {"id": ids[1]}).text = description
    return svg


def _classes(kind: str, series: Series) -> str:
    return f"{kind} s{series.place % _COLOURS}" + (" control" if series.control else "")


def _line(parent: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, name: str) -> None:
    ends = {"x1": _round(x1), "y1": _round(y1), "x2": _round(x2), "y2": _round(y2)}
    ElementTree.SubElement(parent, "line", {"class": name, **ends})


def _text(
    parent: ElementTree.Element, x: float, y: float, text: str, *, anchor: str, name: str = "tick"
) -> ElementTree.Element:
    place = {"x": _round(x), "y": _round(y), "text-anchor": anchor, "class": name}
    element = ElementTree.SubElement(parent, "text", place)
    element.text = text
    return element


def _mark(parent: ElementTree.Element, place: int, x: float, y: float) -> None:
    """Draw a mark whose shape tells series apart where colours do not."""
    shape = _MARKS[place % len(_MARKS)]
    if shape == "circle":
        ElementTree.SubElement(parent, "circle", {"class": "mark", "cx": _round(x), "cy": _round(y), "r": "4"})
        return
    offsets = {
        "square": ((-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)),
        "triangle": ((0, -4.8), (4.4, 3.4), (-4.4, 3.4)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
    }[shape]
    points = " ".join(f"{_round(x + dx)},{_round(y + dy)}" for dx, dy in offsets)
    ElementTree.SubElement(parent, "polygon", {"class": "mark", "points": points})


def _runs(spots: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Divide places at the gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for spot in spots:
        if spot is not None:
            runs[-1].append(spot)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _markup(svg: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(svg, encoding="unicode"))
