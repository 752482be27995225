"""Curves over the signal-to-noise ratio: positions of the points, and notes on missing levels."""

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ted.pipeline.metrics.pck import PckScore
from ted.pipeline.reports.page import make_page, render_page
from ted.pipeline.runs.extracting.noise_level import level_text, snr_db
from ted.pipeline.runs.sweeping.results import SweepResult, VideoResult
from ted.pipeline.tasks.joints.results import JOINTS, JointScore
from ted.store import FeatureChoice
from ted.store.errors import ConfigError

from ..report_inputs import (
    PageReader,
    check_page,
    make_space,
    make_spec,
    notation,
    random_result,
    write_results,
    write_sweep,
    write_units,
)

#: Levels whose ratios are powers of ten, or known: 10, 0, -10 dB; of another schedule 20, -3.0103.
VIDEO_LEVELS = {100: 10 / 11, 500: 0.5, 900: 1 / 11}
IMAGE_LEVELS = {20: 100 / 101, 400: 1 / 3}
DECIBELS = {100: 10.0, 500: 0.0, 900: -10.0, 20: 20.0, 400: -10 * math.log10(2)}


def features(backbone: str, levels: Mapping[int, float]) -> dict[FeatureChoice, float]:
    return {FeatureChoice(backbone=backbone, timestep=step, tap="up"): level for step, level in levels.items()}


VIDEO, IMAGE = features("i2vgen-xl", VIDEO_LEVELS), features("sd21", IMAGE_LEVELS)


def video_sweep(folder: Path, levels: Mapping[FeatureChoice, float] = VIDEO, **options: Path) -> Path:
    space = make_space(video_features=tuple(VIDEO), image_features=(None,), alphas=(1.0,))
    alpha_bars = {str(choice): level for choice, level in levels.items()}
    return write_sweep(folder, random_result(["one", "two"], space, alpha_bars=alpha_bars), **options)


def image_sweep(folder: Path) -> Path:
    space = make_space(video_features=(None,), image_features=tuple(IMAGE), alphas=(0.0,))
    alpha_bars = {str(choice): level for choice, level in IMAGE.items()}
    return write_sweep(folder, random_result(["one", "two"], space, seed=1, alpha_bars=alpha_bars))


def scores(folder: Path, part: str) -> dict[int, float]:
    """Read J&F by timestep from the sweep's table."""
    with (folder / "settings.csv").open(newline="") as file:
        return {int(row[f"{part}_feature"].split(":")[1]): float(row["jf"]) for row in csv.DictReader(file)}


def noise_chart(html: str) -> ElementTree.Element:
    (text,) = re.findall(r"<svg[^>]*aria-labelledby=\"over-noise-title.*?</svg>", html, re.DOTALL)
    return ElementTree.fromstring(text)


def axis(svg: ElementTree.Element, anchor: str, coordinate: str) -> tuple[np.ndarray, np.ndarray]:
    """Return values and coordinates of an axis's tick labels, which have a constant offset from the ticks."""
    marks = [
        text for text in svg.iter("text") if (text.attrib["text-anchor"], text.attrib["class"]) == (anchor, "tick")
    ]
    return np.array([float(text.text or "") for text in marks]), np.array(
        [float(text.attrib[coordinate]) for text in marks]
    )


def table(page: PageReader) -> list[list[str]]:
    """Return the exact numbers of the curves."""
    (rows,) = (rows for caption, rows in page.tables.items() if caption.endswith("over the signal-to-noise ratio"))
    return [[text if value is None else value for text, value in row] for row in rows[1:]]


@pytest.mark.parametrize(
    ("alpha_bar", "expected"), [(0.5, 0), (10 / 11, 10), (1e-7, -70), (1 - 1e-12, 120), (0.0, -math.inf), (1, math.inf)]
)
def test_decibels(alpha_bar: float, expected: float) -> None:
    assert snr_db(alpha_bar) == pytest.approx(expected, abs=1e-4)
    assert level_text(10 / 11) == "10.00 dB"


def test_backbones_of_different_schedules_share_an_axis(tmp_path: Path) -> None:
    """Coordinates of points, read off the axes, equal the levels in dB and the scores of the sweeps' tables."""
    folders = [video_sweep(tmp_path / "sweep-video"), image_sweep(tmp_path / "sweep-image")]
    html = render_page(make_page(folders, title="t"))
    page, svg = check_page(html), noise_chart(html)
    (x, px), (y, py) = axis(svg, "middle", "x"), axis(svg, "end", "y")
    assert {-10, 20} <= {*x}
    found = {}
    for line, (folder, part) in zip(svg.iter("polyline"), zip(folders, ("video", "image"), strict=True), strict=True):
        places = np.array([[float(value) for value in pair.split(",")] for pair in line.attrib["points"].split()])
        drawn_x = x[0] + (places[:, 0] - px[0]) / (px[-1] - px[0]) * (x[-1] - x[0])
        drawn_y = y[0] + (places[:, 1] + 4 - py[0]) / (py[-1] - py[0]) * (y[-1] - y[0])
        by_level = sorted((DECIBELS[step], score) for step, score in scores(folder, part).items())
        np.testing.assert_allclose(drawn_x, [level for level, _ in by_level], atol=0.01)  # a tenth of a pixel
        np.testing.assert_allclose(drawn_y, [score for _, score in by_level], atol=0.001)
        found[folder.name] = by_level
    assert [len(line) for line in found.values()] == [3, 2]
    rows = table(page)
    assert [row[0] for row in rows] == ["sweep-video, video i2vgen-xl"] * 3 + ["sweep-image, image sd21"] * 2
    assert [int(row[1]) for row in rows] == [900, 500, 100, 400, 20]
    assert [float(row[3]) for row in rows] == pytest.approx([DECIBELS[int(row[1])] for row in rows], abs=1e-9)
    drawn = [score for line in found.values() for _, score in line]
    assert [float(row[4]) for row in rows] == drawn
    assert "signal-to-noise ratio, which is not known" not in page.text
    titles = re.findall(r"<figcaption><bdi>\S+ over ([^<]*)", html)
    assert titles == ["video timestep", "image timestep", "the signal-to-noise ratio"]


def test_one_line_alone_has_j_and_f(tmp_path: Path) -> None:
    page = check_page(render_page(make_page([video_sweep(tmp_path / "sweep")], title="t")))
    assert [text for text, _ in page.tables["Scores over the signal-to-noise ratio"][0]][-4:-1] == ["J&F", "J", "F"]


def test_joints_have_their_own_measures(tmp_path: Path) -> None:
    """Scores rise as alpha_bar falls, so each point can be recognised by its score."""
    settings = make_space(video_features=tuple(VIDEO), image_features=(None,), alphas=(1.0,)).settings()
    counted, scores = np.full(15, 4), {}
    for place, setting in enumerate(settings):
        correct = np.stack([np.full(15, count) for count in (place, place + 1, 4, 4, 4)])
        scores[setting] = JointScore(pck=PckScore(correct=correct, counted=counted, samples=60))
    units = {str(choice): notation("one", choice) for choice in VIDEO}
    levels = {str(choice): level for choice, level in VIDEO.items()}
    video = VideoResult(dataset="jhmdb", video="one", units=units, scores=scores, alpha_bars=levels)
    folder = write_sweep(tmp_path / "sweep", SweepResult(metric_spec=JOINTS, settings=settings, videos=[video]))
    page = check_page(render_page(make_page([folder], title="t")))
    assert [text for text, _ in page.tables["Scores over the signal-to-noise ratio"][0]][-4:-1] == [
        "PCK@0.2",
        "PCK@0.1",
        "found",
    ]
    drawn = [(float(row[3]), float(row[4]), float(row[5])) for row in table(page)]
    expected = [(DECIBELS[step], 25.0 * (place + 1), 25.0 * place) for place, step in enumerate((100, 500, 900))]
    np.testing.assert_allclose(drawn, expected[::-1], atol=1e-9)


def test_backbones_of_one_sweep_are_lines_of_their_own(tmp_path: Path) -> None:
    """Each backbone has a line at its best alpha, for both parts if both timesteps vary."""
    others = features("svd", {100: 0.9, 900: 0.2})
    space = make_space(video_features=(*VIDEO, *others), image_features=tuple(IMAGE), alphas=(0.3, 0.6))
    alpha_bars = {str(choice): level for choice, level in (VIDEO | others | IMAGE).items()}
    folder = write_sweep(tmp_path / "sweep", random_result(["one"], space, alpha_bars=alpha_bars))
    rows = table(check_page(render_page(make_page([folder], title="t"))))
    counts = Counter(row[0] for row in rows)
    assert counts == {"sweep, video i2vgen-xl": 3, "sweep, video svd": 2, "sweep, image sd21": 2}
    with (folder / "settings.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    for backbone in ("i2vgen-xl", "svd"):
        own = [row for row in ranked if row["video_feature"].startswith(backbone)]
        best = own[0]
        expected = {
            row["video_feature"].split(":")[1]: row["jf"]
            for row in own
            if (row["alpha"], row["image_feature"]) == (best["alpha"], best["image_feature"])
        }
        assert {row[1]: row[4] for row in rows if row[0] == f"sweep, video {backbone}"} == expected


def test_noise_alone_is_in_the_table_and_has_no_place_in_the_picture(tmp_path: Path) -> None:
    levels = VIDEO | {FeatureChoice(backbone="i2vgen-xl", timestep=900, tap="up"): 0.0}
    html = render_page(make_page([video_sweep(tmp_path / "sweep", levels)], title="t"))
    page = check_page(html)
    assert [float(row[3]) for row in table(page)] == [-math.inf, pytest.approx(0, abs=1e-9), pytest.approx(10)]
    assert [len(line.attrib["points"].split()) for line in noise_chart(html).iter("polyline")] == [2, 2, 2]
    assert "i2vgen-xl:900:up is noise alone, which has no place on this axis" in page.text


def test_a_level_that_is_not_known_is_said_to_be_missing_and_how_to_get_it(tmp_path: Path) -> None:
    """A line with an unknown level is left out, and others are drawn."""
    first, *rest = VIDEO
    partly = video_sweep(tmp_path / "old", {choice: VIDEO[choice] for choice in rest})
    page = check_page(render_page(make_page([partly], title="t")))
    assert not any("signal-to-noise" in caption for caption in page.tables)
    assert f"which is not known: old, video i2vgen-xl ({first})." in page.text
    assert "--videos NAME --overwrite" in page.text
    both = check_page(render_page(make_page([partly, image_sweep(tmp_path / "new")], title="t")))
    assert {row[0] for row in table(both)} == {"new, image sd21"}
    assert "which is not known: old, video i2vgen-xl" in both.text


def test_tables_of_earlier_versions_get_their_levels_from_the_cache(tmp_path: Path) -> None:
    """Levels come from the units, or from another video's unit with the same weights, and from no other weights."""
    folder = video_sweep(tmp_path / "sweep", {}, cache=tmp_path / "cache")
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [column for column in rows[0] if not column.endswith("alpha_bar")]
    assert len(kept) == len(rows[0]) - 2
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for choice in VIDEO:
        write_units(tmp_path / "cache", ["one", "two"], choice)
        write_units(tmp_path / "cache", ["three"], choice, weights="sha256:other", alpha_bar=0.123)
    assert "which is not known" in check_page(render_page(make_page([folder], title="t"))).text
    for choice, level in VIDEO.items():
        write_units(tmp_path / "cache", ["three"], choice, alpha_bar=level)
    page = check_page(render_page(make_page([folder], title="t")))
    assert [float(row[2]) for row in table(page)] == sorted(VIDEO_LEVELS.values())
    assert "0.5 (signal-to-noise ratio 0.00 dB)" in page.text


def test_videos_of_different_levels_have_none_in_common(tmp_path: Path) -> None:
    folder = video_sweep(tmp_path / "sweep", {}, cache=tmp_path / "cache")
    for choice, level in VIDEO.items():
        write_units(tmp_path / "cache", ["one"], choice, alpha_bar=level)
        write_units(tmp_path / "cache", ["two"], choice, alpha_bar=level / 2)
    assert "have no common one" in check_page(render_page(make_page([folder], title="t"))).text


def test_levels_of_results_are_in_their_provenance(tmp_path: Path) -> None:
    choice = next(iter(VIDEO))
    folder = write_results(tmp_path / "results", ["one"], choice)
    record = folder / "one" / "ted.json"
    label = make_spec("one", choice).label
    record.write_text(record.read_text().replace(f'"unit": "{label}"', f'"unit": "{label}", "alpha_bar": 0.5'))
    assert "0.5 (signal-to-noise ratio 0.00 dB)" in render_page(make_page([folder], title="t"))
    record.write_text(record.read_text().replace("0.5", "1.5"))
    with pytest.raises(ConfigError, match=r"alpha_bar 1\.5"):
        make_page([folder], title="t")


def test_tables_of_sweeps_name_levels(tmp_path: Path) -> None:
    folder = video_sweep(tmp_path / "sweep")
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = {row["video_unit"]: (float(row["video_alpha_bar"]), row["image_alpha_bar"]) for row in rows}
    assert named == {notation(video, choice): (VIDEO[choice], "") for choice in VIDEO for video in ("one", "two")}
