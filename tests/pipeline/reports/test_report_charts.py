"""Positions of lines and markers in charts, lengths of bars and shades of heat maps equal their values."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ted.pipeline.reports.charts import Scale, Series, legend_key, line_chart, nice_ticks, spaced_ticks
from ted.pipeline.reports.tables import Number, TableView, row

Point = tuple[float, float]


def polylines(svg: ElementTree.Element) -> list[list[Point]]:
    found = []
    for line in svg.iter("polyline"):
        pairs = [pair.split(",") for pair in line.attrib["points"].split()]
        found.append([(float(x), float(y)) for x, y in pairs])
    return found


def ticks_down(svg: ElementTree.Element) -> list[Point]:
    """Return (value, y) of the ticks of the vertical axis, from the grid lines and their labels."""
    lines = [float(line.attrib["y1"]) for line in svg.iter("line") if line.attrib["class"] == "grid"]
    texts = [float(text.text or "") for text in svg.iter("text") if text.attrib["text-anchor"] == "end"]
    return list(zip(texts, lines, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_ticks_enclose_a_range_evenly_by_round_steps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.normal(size=2) * 10.0 ** rng.integers(-4, 4))
    most = int(rng.integers(3, 9))
    ticks = nice_ticks(low, high, most)
    assert ticks[0] <= low + 1e-9 * abs(low)
    assert ticks[-1] >= high - 1e-9 * abs(high)
    assert 2 <= len(ticks) <= most
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    digits = steps[0] / 10.0 ** math.floor(math.log10(steps[0] * (1 + 1e-9)))
    assert min(abs(digits - one) for one in (1, 2, 5, 10)) < 1e-6


def test_ticks_by_hand() -> None:
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(0.41, 0.53) == [0.4, 0.45, 0.5, 0.55]
    assert nice_ticks(0.5, 0.5)[0] < 0.5 < nice_ticks(0.5, 0.5)[-1]


def test_scales() -> None:
    plain = Scale(values=(1, 100), ends=(10, 30))
    ratio = Scale(values=(1, 100), ends=(10, 30), logarithmic=True)
    assert (plain(1), plain(50.5), plain(100)) == pytest.approx((10, 20, 30))
    assert (ratio(1), ratio(10), ratio(100)) == pytest.approx((10, 20, 30))
    assert Scale(values=(3, 3), ends=(0, 8))(3) == 4


@pytest.mark.parametrize("seed", range(10))
def test_spaced_ticks_keep_their_distance_and_the_last(seed: int) -> None:
    ticks = np.sort(np.random.default_rng(seed).uniform(0, 100, 25)).tolist()
    scale = Scale(values=(0, 100), ends=(0, 300))
    chosen = spaced_ticks(ticks, scale, 30)
    assert (chosen[0], chosen[-1]) == (ticks[0], ticks[-1])
    assert min(np.diff([scale(tick) for tick in chosen])) >= 30
    assert len(chosen) >= 5
    assert spaced_ticks([], scale, 30) == []
    assert spaced_ticks([0, 1], scale, 30) == [0]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_lines_lie_where_the_values_are(logarithmic: bool) -> None:
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0.01, 1, 9)).tolist()
    values = rng.uniform(0.2, 0.9, (2, 9)).tolist()
    series = [Series(name="a", values=values[0]), Series(name="b", values=values[1], index=1, control=True)]
    text = line_chart(
        "c",
        title="t",
        x_label="alpha",
        y_label="J&F",
        x=x,
        series=series,
        levels=[Series(name="l", values=[0.3], control=True)],
        logarithmic=logarithmic,
    )
    svg = ElementTree.fromstring(text)
    (low, low_y), *_, (high, high_y) = ticks_down(svg)
    lines = polylines(svg)
    assert len(lines) == 2
    for line, expected in zip(lines, values, strict=True):
        read = [low + (y - low_y) / (high_y - low_y) * (high - low) for _, y in line]
        np.testing.assert_allclose(read, expected, atol=0.05 * 1.01 * (high - low) / abs(high_y - low_y))
        places = np.log(x) if logarithmic else np.array(x)
        relative = (places - places[0]) / (places[-1] - places[0])
        drawn = np.array([px for px, _ in line])
        np.testing.assert_allclose(drawn, drawn[0] + relative * (drawn[-1] - drawn[0]), atol=0.11)
    (level,) = (line for line in svg.iter("line") if "level" in line.attrib["class"])
    assert low + (float(level.attrib["y1"]) - low_y) / (high_y - low_y) * (high - low) == pytest.approx(0.3, abs=0.001)
    assert [group.attrib["class"] for group in svg.iter("g")] == ["series s0", "series s1 control"]


def test_gaps_divide_a_line_and_single_points_are_marked() -> None:
    series = [Series(name="a", values=[0.1, 0.2, None, 0.3, None, 0.5, 0.4])]
    svg = ElementTree.fromstring(line_chart("c", title="t", x_label="x", y_label="y", x=range(7), series=series))
    assert [len(line) for line in polylines(svg)] == [2, 2]
    assert len(list(svg.iter("circle"))) == 5


def test_nothing_to_draw() -> None:
    text = line_chart("c", title="t", x_label="x", y_label="y", x=[1.0], series=[Series(name="a", values=[None])])
    assert "no values" in text


def test_bars_are_as_long_as_their_values_and_shades_as_dark() -> None:
    values = ["0.25", "50.0", "1e2", "-3.0", "120.0"]
    bars = TableView(caption="", columns=("", ""), rows=(), longest=100)
    assert [bars.length(value) for value in values] == ["0.2", "50.0", "100.0", "0.0", "100.0"]
    rows = (row("a", Number("0.5"), Number("0.7")), row("b", Number(""), Number("0.9")))
    heat = TableView(caption="", columns=("", "x", "y"), rows=rows, shaded=True)
    assert [heat.shade(cell) for item in rows for cell in item.cells[1:]] == [" h0", " h4", "", " h8 best"]
    flat = TableView(caption="", columns=("", "x"), rows=(row("a", Number("0.5")),), shaded=True)
    assert flat.shade("0.5") == " h0 best"


def test_names_may_hold_anything() -> None:
    name = "</svg><script>alert('&')</script>\"'" * 2
    text = line_chart(name, title=name, x_label=name, y_label=name, x=[1], series=[Series(name=name, values=[0.5])])
    assert "<script" not in text
    svg = ElementTree.fromstring(text)
    assert svg.findtext("title") == name
    assert name in (svg.findtext("desc") or "")


def test_a_chart_says_what_it_is() -> None:
    series = [Series(name="mine", values=[0.25, 0.75, 0.5])]
    svg = ElementTree.fromstring(
        line_chart("c1", title="over", x_label="alpha", y_label="J&F", x=[0, 0.4, 1], series=series)
    )
    assert svg.attrib["role"] == "img"
    named = svg.attrib["aria-labelledby"].split()
    assert [svg[0].attrib["id"], svg[1].attrib["id"]] == named
    assert re.search("mine: 3 values, highest 0.750 at alpha 0.4, lowest 0.250 at alpha 0", svg[1].text or "")


def test_keys_look_like_their_series() -> None:
    key = ElementTree.fromstring(legend_key(Series(name="a", values=[], index=1, control=True)))
    assert key.attrib["aria-hidden"] == "true"
    assert key[0].attrib["class"] == "series s1 control"
