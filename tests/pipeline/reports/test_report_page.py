"""The page is complete, escaped and deterministic, and its numbers equal those of the tables."""

import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.reports import tables
from ted.pipeline.reports.folders import read_sweep
from ted.pipeline.reports.frame_pictures import spread
from ted.pipeline.reports.page import make_page, render_page
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import write_davis
from ted.pipeline.tasks.masks.frames import MaskFrames
from ted.pipeline.tasks.masks.scores import MASKS, MaskScore
from ted.pipeline.tasks.masks.truth import score_sequence
from ted.store.errors import ConfigError, TedError

from ..report_inputs import (
    IMAGE_FEATURE,
    POSITION,
    VIDEO_FEATURE,
    PageReader,
    check_page,
    exact,
    make_space,
    random_result,
    write_masks,
    write_results,
    write_sweep,
    write_units,
)

HOSTILE = "</td><img src=x onerror=alert(1)><script>alert('&amp;')<!--\"'"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def page_of(*folders: Path, **options: object) -> PageReader:
    return check_page(render_page(make_page(folders, title="A title", **options)))  # type: ignore[arg-type]


def finite(text: str) -> str | None:
    return text or None


def test_a_sweep_is_read_back_exactly(tmp_path: Path) -> None:
    space = make_space(temperatures=(0.1, 0.30000000000000004), video_features=(VIDEO_FEATURE, POSITION))
    result = random_result(["one", "two", "three"], space)
    read = read_sweep(write_sweep(tmp_path / "sweep", result))
    assert read.ranking == result.ranking
    assert read.by_video == result.by_video
    assert not read.failures


@pytest.mark.parametrize("contours", [True, False])
def test_numbers_of_a_sweep_equal_its_tables(tmp_path: Path, contours: bool) -> None:
    result = random_result(["one", "two"], make_space(temperatures=(0.05, 0.1, 0.2)), contours=contours, decay=math.nan)
    folder = write_sweep(tmp_path / "sweep", result)
    page = page_of(folder)
    ranked = read_csv(folder / "settings.csv")
    (settings,) = (rows for caption, rows in page.tables.items() if caption.startswith("Settings of sweep"))
    shown = [name for name in MASKS.columns if any(row[name] for row in ranked)]
    assert exact(settings) == [[finite(row[name]) for name in shown] for row in ranked]
    means = page.tables["Means over all objects"]
    assert exact(means) == [[finite(ranked[0][name]) for name in shown]]
    best = {name: ranked[0][name] for name in ("video_feature", "image_feature", "alpha", "temperature")}
    rows = [row for row in read_csv(folder / "results.csv") if best.items() <= row.items()]
    objects = page.tables["J and F of each object"]  # a column without values is left out
    assert [row[0][0] for row in objects[1:]] == [f"{row['video']}_{row['object']}" for row in rows]
    assert exact(objects) == [[row[name] for name in ("j", "f") if row[name]] for row in rows]


def test_curves_hold_the_numbers_of_the_best_slices(tmp_path: Path) -> None:
    result = random_result(["one", "two"], make_space(temperatures=(0.05, 0.1, 0.2)))
    folder = write_sweep(tmp_path / "sweep", result)
    ranked = read_csv(folder / "settings.csv")
    page = page_of(folder)
    for axis, other in (("alpha", "temperature"), ("temperature", "alpha")):
        slices = [row for row in ranked if row[other] == ranked[0][other]]
        expected = [
            [row[name] for name in ("jf", "j", "f")] for row in sorted(slices, key=lambda row: float(row[axis]))
        ]
        assert exact(page.tables[f"Scores over {axis}"]) == expected


def test_features_of_a_sweep_have_curves_without_settings_that_lack_them(tmp_path: Path) -> None:
    steps = tuple(
        VIDEO_FEATURE.__class__(backbone="i2vgen-xl", timestep=step, tap=tap) for step in (300, 600) for tap in "ab"
    )
    result = random_result(["one"], make_space(video_features=steps))
    folder = write_sweep(tmp_path / "sweep", result)
    page = page_of(folder)
    with_video = [row for row in read_csv(folder / "settings.csv") if row["video_feature"]]
    best = with_video[0]
    tap = best["video_feature"].rsplit(":", 1)[1]
    expected = [
        next(
            r["jf"]
            for r in with_video
            if r["video_feature"] == f"i2vgen-xl:{step}:{tap}" and r["alpha"] == best["alpha"]
        )
        for step in (300, 600)
    ]
    assert [row[0] for row in exact(page.tables["Scores over video timestep"])] == expected
    assert "Scores over video tap" in page.tables
    assert "left out of curves over the signal-to-noise ratio" in page.text


def test_numbers_of_results_equal_the_official_tables(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", ["one", "two_three"], decay=math.nan)
    page = page_of(folder)
    (overall,) = read_csv(folder / "global_results-val.csv")
    assert overall["J-Decay"] == ""
    assert exact(page.tables["Means over all objects"]) == [[text for text in overall.values() if text]]
    objects = read_csv(folder / "per-sequence_results-val.csv")
    assert exact(page.tables["J and F of each object"]) == [[row["J-Mean"], row["F-Mean"]] for row in objects]
    bars = {row[0][0]: float(row[1][1] or "nan") for row in page.tables["J&F of each video"][1:]}
    for video in ("one", "two_three"):
        values = [float(row[name]) for row in objects if row["Sequence"][:-2] == video for name in ("J-Mean", "F-Mean")]
        assert bars[video] == pytest.approx(sum(values) / 4)


def test_the_finding_has_the_uncertainty_of_the_paired_difference(tmp_path: Path) -> None:
    videos = [f"video-{number}" for number in range(5)]
    better, worse = (write_results(tmp_path / name, videos, seed=seed) for name, seed in (("a", 4), ("b", 4)))
    table = worse / "per-sequence_results-val.csv"
    rows = read_csv(table)
    lowered = [0.1, 0.1, 0.2, 0.2, 0.3]
    for number, row in enumerate(rows):
        for name in ("J-Mean", "F-Mean"):
            row[name] = f"{float(row[name]) - lowered[number // 2]:.3f}"
    table.write_text("Sequence,J-Mean,F-Mean\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    overall = worse / "global_results-val.csv"
    (means,) = read_csv(overall)
    means["J&F-Mean"] = f"{float(means['J&F-Mean']) - 0.18:.3f}"
    overall.write_text(",".join(means) + "\n" + ",".join(means.values()) + "\n")
    (best,) = read_csv(better / "global_results-val.csv")
    scores = [float(row[1][1] or "nan") for row in page_of(better).tables["J&F of each video"][1:]]
    page = page_of(worse, better)
    error, paired = (np.std(values, ddof=1) / np.sqrt(5) for values in (scores, lowered))
    score = f"a has J&F {float(best['J&F-Mean']):.3f} with a standard error of {error:.3f} over 5 videos"
    assert f"{score}; it is better than b (difference 0.180 ± {paired:.3f}, paired by video)." in page.text
    alone = page_of(write_results(tmp_path / "c", ["one"]))
    assert "over 1 video; one video tells nothing about others." in alone.text
    same = page_of(better, write_results(tmp_path / "d", videos, seed=4))
    assert "it is not clearly better than d" in same.text


def test_columns_have_the_same_decimals(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", ["one", "two"])
    table = folder / "per-sequence_results-val.csv"
    table.write_text("Sequence,J-Mean,F-Mean\none_1,0.5,0.25\none_2,1,0.125\n")
    rows = page_of(folder).tables["J and F of each object"]
    assert [[text for text, _ in row[1:]] for row in rows[1:]] == [["0.5", "0.250"], ["1.0", "0.125"]]
    assert exact(rows) == [["0.5", "0.25"], ["1", "0.125"]]


def test_folders_of_one_name_are_told_apart_without_local_paths(tmp_path: Path) -> None:
    folders = [write_results(tmp_path / run / "results", ["one"], cache=tmp_path / "no cache") for run in ("a", "b")]
    html = render_page(make_page(folders, title="A title"))
    page = check_page(html)
    assert [row[0][0] for row in page.tables["Means over all objects"][1:]] == ["a/results", "b/results"]
    assert str(tmp_path) not in html


def test_controls_stand_beside_the_results_everywhere(tmp_path: Path) -> None:
    """Position is known by its name, other controls by the cache's records."""
    videos = ["one", "two"]
    own, untrained, still = (tmp_path / name for name in ("cache", "cache-untrained", "cache-still"))
    write_units(own, videos, VIDEO_FEATURE)
    random = {"weights": "random:0:sha256:cd"}
    write_units(untrained, videos, IMAGE_FEATURE, **random)
    off = {"conditioning": {"temporal_layers": "off"}}
    write_units(still, videos, VIDEO_FEATURE, **off)
    swept = write_sweep(
        tmp_path / "sweep", random_result(videos, make_space(image_features=(IMAGE_FEATURE, POSITION))), cache=own
    )
    results = write_results(tmp_path / "results-untrained", videos, IMAGE_FEATURE, seed=1, cache=untrained, **random)
    without = write_results(tmp_path / "results-still", videos, VIDEO_FEATURE, seed=2, cache=still, **off)
    labels = [
        "sweep",
        "sweep (control: explicit position)",
        "results-still (control: temporal layers off)",
        "results-untrained (control: untrained network)",
    ]
    page = page_of(results, swept, without)
    means = page.tables["Means over all objects"]
    kinds = {row[-1][0] for row in means[1:]}
    assert kinds == {"", "explicit position", "temporal layers off", "untrained network"}
    assert means[1][-1][0] == ""
    for caption in ("J&F over alpha", "J&F of each video"):
        assert set(labels) == {text for text, _ in page.tables[caption][0][1:]}
    for label in labels:
        assert {f"{label} J-Mean", f"{label} F-Mean"} <= {text for text, _ in page.tables["J and F of each object"][0]}
    (settings,) = (rows for caption, rows in page.tables.items() if caption.startswith("Settings of sweep"))
    for row in settings[1:]:
        assert (row[-1][0] == "explicit position") == any("position" in text for text, _ in row)
    (overall,) = read_csv(results / "global_results-val.csv")
    curve = page.tables["J&F over alpha"]
    place = [text for text, _ in curve[0]].index(labels[3])
    assert {row[place][1] for row in curve[1:]} == {overall["J&F-Mean"]}


def test_the_curve_of_a_control_ends_where_alpha_leaves_it_out(tmp_path: Path) -> None:
    """A control's sweep has no separate result for alpha 0, where the control has no weight."""
    result = random_result(["one"], make_space(video_features=(POSITION,), temperatures=(0.1, 0.2)))
    folder = write_sweep(tmp_path / "sweep", result)
    ranked = read_csv(folder / "settings.csv")
    own = [row for row in ranked if row["video_feature"]]
    page = page_of(folder)
    assert exact(page.tables["Means over all objects"])[0][0] == own[0]["jf"]
    assert len(page.tables["Means over all objects"]) == 2
    curve = page.tables["Scores over alpha"]
    expected = [
        row["jf"]
        for row in sorted(ranked, key=lambda row: float(row["alpha"]))
        if row["temperature"] == own[0]["temperature"]
    ]
    assert [row[0] for row in exact(curve)] == expected
    (settings,) = (rows for caption, rows in page.tables.items() if caption.startswith("Settings of sweep"))
    assert [row[0] for row in exact(settings)] == [row["jf"] for row in ranked]
    assert [row[-1][0] for row in settings[1:]] == [
        "explicit position" if row["video_feature"] else "" for row in ranked
    ]


def test_cost_is_what_the_cache_records(tmp_path: Path) -> None:
    write_units(tmp_path / "cache", ["one", "two"], IMAGE_FEATURE)
    folder = write_results(tmp_path / "results", ["one", "two"], cache=tmp_path / "cache")
    page = page_of(folder)
    (facts,) = (rows for caption, rows in page.tables.items() if caption.startswith("results: feature adm"))
    # A unit is the folder of its codec, without its records.
    files = [path for path in (tmp_path / "cache").glob("*/*/adm@*/*/*/float16/**/*") if path.is_file()]
    size = sum(path.stat().st_size for path in files if path.parent.name != "ted")
    found = {name: value for (name, _), (value, _) in facts}
    assert (
        found.items()
        >= {
            "videos in the cache": "2",
            "megabytes": f"{size / 1e6:.2f}",
            "frames computed": "4",
            "seconds": "8.0, which features of one run share",
            "frames per second": "0.50",
        }.items()
    )
    assert "sha256:ab" in page.text
    assert "2030-01-01" in page.text


def test_hostile_names_are_shown_and_not_run(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "_")
    swept = write_sweep(tmp_path / name, random_result([HOSTILE, "b"], make_space()))
    results = write_results(tmp_path / f"{name}2", [HOSTILE, "b"])
    page = check_page(render_page(make_page([swept, results], title=HOSTILE)))
    assert HOSTILE in page.text
    assert name in page.text
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert page.tables["J and F of each object"][1][0][0] == f"{HOSTILE}_1"


def test_text_and_lines_stand_out_in_both_schemes() -> None:
    """Colours have the contrast of WCAG 2.2: 4.5 for text (1.4.3), 3 for lines and bars (1.4.11)."""
    css = (files("ted.pipeline.reports") / "templates" / "report.css").read_text()
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(schemes) == 3
    for colours in schemes:
        for ground in ("paper", "raised", "control"):
            for ink in ("ink", "faint", "link", "badge"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
            for line in (f"s{number}" for number in range(6)):
                assert contrast(colours[line], colours[ground]) >= 3, (line, ground)
        shades = [int(text) / 100 for text in re.findall(r"\.h\d \{ --share: (\d+)%", css)]
        assert len(shades) == 9
        for share in shades:
            both = zip(rgb(colours["s0"]), rgb(colours["paper"]), strict=True)
            mixed = [share * one + (1 - share) * other for one, other in both]
            assert contrast(colours["ink"], "#" + "".join(f"{round(part):02x}" for part in mixed)) >= 4.5


def rgb(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [part / 255 for part in rgb(colour)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_kernel_of_results_is_named(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", ["one"])
    record = json.loads((folder / "one/ted.json").read_text())
    record["settings"]["kernel"] = {"name": "heads", "revision": 1, "parameters": {"weights": [0.5, 0.5], "scale": 2}}
    (folder / "one/ted.json").write_text(json.dumps(record))
    assert "context 28, kernel heads (weights [0.5, 0.5], scale 2)" in page_of(folder).text


def test_a_hundred_videos(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", [f"video-{number:03}" for number in range(100)])
    page = page_of(folder)
    assert len(page.tables["J&F of each video"]) == 101
    assert len(page.tables["J and F of each object"]) == 201
    lengths = [float(item["width"] or 0) for tag, item in page.elements if tag == "rect"]
    values = [float(row[0] or "nan") for row in exact(page.tables["J&F of each video"])]
    np.testing.assert_allclose(lengths, 100 * np.array(values), atol=0.051)


def test_long_tables_are_cut_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_ROWS", 3)
    page = page_of(write_results(tmp_path / "results", ["one", "two"]))
    assert len(page.tables["J and F of each object"]) == 4
    assert "tables show the first 3 of 4 objects" in page.text


def test_the_heat_map_has_the_two_parameters_that_matter_most(tmp_path: Path) -> None:
    space = make_space(temperatures=(0.05, 0.1, 0.2), radii=(5, 6))
    folder = write_sweep(tmp_path / "sweep", random_result(["one", "two"], space))
    ranked = read_csv(folder / "settings.csv")
    best = ranked[0]

    def of(row: dict[str, str], *axes: str) -> bool:
        return all(row[name] == best[name] for name in {"alpha", "temperature", "radius"} - {*axes})

    reach = {}
    for axis in ("alpha", "temperature", "radius"):
        scores = [float(row["jf"]) for row in ranked if of(row, axis)]
        reach[axis] = max(scores) - min(scores)
    y, x = sorted(
        sorted(reach, key=lambda axis: -reach[axis])[:2], key=lambda axis: -len({row[axis] for row in ranked})
    )
    page = page_of(folder)
    table = page.tables[f"sweep: J&F over {y} and {x}"]
    shown = {
        (row[0][0], head[0], value) for row in table[1:] for head, (_, value) in zip(table[0][1:], row[1:], strict=True)
    }
    assert shown == {(f"{float(row[y]):g}", f"{x} {float(row[x]):g}", row["jf"]) for row in ranked if of(row, x, y)}
    marked = [item["class"] for tag, item in page.elements if tag == "td" and "best" in (item.get("class") or "")]
    assert marked == ["number h8 best"]


def test_many_settings_are_cut_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_SETTINGS", 5)
    space = make_space(alphas=(0.4,), temperatures=tuple(0.1 * n for n in range(1, 8)))
    page = page_of(write_sweep(tmp_path / "sweep", random_result(["one"], space)))
    (settings,) = (rows for caption, rows in page.tables.items() if caption.startswith("Settings of sweep"))
    assert len(settings) == 6
    assert "5 of 7 settings are listed" in page.text


def test_masks_without_scores_or_cache(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", ["one"])
    for path in folder.glob("*.csv"):
        path.unlink()
    page = page_of(folder)
    assert "there are no scores" in page.text
    assert "records no cache" in page.text
    assert "not scored" in page.text


def test_a_sweep_of_videos_that_all_failed(tmp_path: Path) -> None:
    result = random_result(["one"], make_space())
    failed = replace(result, videos=[], failures={"one": "no features <there>"})
    page = page_of(write_sweep(tmp_path / "sweep", failed))
    assert "one failed, and counts in no mean: no features <there>" in page.text


def test_what_is_no_folder_of_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no results"):
        make_page([tmp_path / "empty"], title="")
    with pytest.raises(ConfigError, match="no folder"):
        make_page([tmp_path / "absent"], title="")
    folder = write_results(tmp_path / "results", ["one"])
    with pytest.raises(ConfigError, match="given twice"):
        make_page([folder, folder], title="")
    (folder / "per-sequence_results-val.csv").write_text("Sequence,J-Mean,F-Mean\none_1,0.5\n")
    with pytest.raises(ConfigError, match="row 2 has 2 cells"):
        make_page([folder], title="")
    swept = write_sweep(tmp_path / "sweep", random_result(["one"], make_space()))
    (swept / "settings.csv").write_text((swept / "settings.csv").read_text().replace("0.4", "much"))
    with pytest.raises(ConfigError, match="not those of `ted sweep`"):
        make_page([swept], title="")
    (swept / "settings.csv").rename(swept / "journal.jsonl")
    with pytest.raises(ConfigError, match="no tables yet"):
        make_page([swept], title="")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "binary": lambda content: b"\xff\x00\xfe" + content,
    "list": lambda content: b"[1, 2]",
    "nested": lambda content: b"[" * 100_000,
    "words": lambda content: content.replace(b"0.", b"x").replace(b"[", b"3"),
    "numbers": lambda content: content.replace(b'"', b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_errors_that_say_so_or_left_out(tmp_path: Path, damage: str) -> None:
    folders = [
        write_results(tmp_path / "results", ["one"], cache=tmp_path / "gone"),
        write_sweep(tmp_path / "sweep", random_result(["one"], make_space()), cache=tmp_path / "gone"),
    ]
    refused = []
    for path in [path for folder in folders for path in folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.write_bytes(DAMAGES[damage](content))
        try:
            render_page(make_page(folders, title=""))
        except TedError as error:
            refused.append((path, str(error)))
        path.write_bytes(content)
    assert refused
    assert all(str(path.parent) in error for path, error in refused)


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    for seed, name in enumerate(("one", "two")):
        clip = render(SceneSpec(frames=12, size=(96, 128), radius=(14, 14), motion="bouncing", seed=seed))
        write_davis(tmp_path / "davis", name, clip.frames, clip.masks)
    return tmp_path / "davis"


def test_pictures_of_telling_frames(davis: Path, tmp_path: Path) -> None:
    """Worst is the frame whose mask was emptied; two folders differ most where one mask of the other is empty."""
    videos = open_sources([Source(path=davis)])
    results = write_results(tmp_path / "results", ["one", "two"])
    control = write_results(tmp_path / "results-position", ["one", "two"], POSITION)
    for video, emptied in zip(videos, (4, 7), strict=True):
        masks = {name: read_mask(path) for name, path in video.annotations().items()}
        masks[video.frames.names[emptied]] = np.zeros_like(masks["00000"])
        write_masks(results / video.name, masks)
        write_masks(control / video.name, masks | {"00009": np.zeros_like(masks["00000"])})
    alone = make_page([results], title="t", videos=videos, pictures=2)
    assert [view.kind for view in alone.frames] == ["best", "best", "worst", "worst"]
    made = make_page([control, results], title="t", videos=videos, pictures=2)
    worst = [(view.video, view.frame) for view in made.frames if view.kind == "worst"]
    assert sorted(worst) == [("one", "00004"), ("two", "00007")]
    apart = [(view.video, view.frame) for view in made.frames if view.kind == "apart"]
    assert sorted(apart) == [("one", "00009"), ("two", "00009")]
    page = check_page(render_page(made))
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 4 * 3
    assert "the masks of results over frame 00004 of one, with J&F 0.000" in {item["alt"] for item in pictures}
    assert all(int(item["width"] or 0) <= 320 for item in pictures)
    again = make_page([control, results], title="t", videos=videos, pictures=2, date=made.date)
    assert render_page(made) == render_page(again)


def test_frame_scores_average_to_the_official_score(davis: Path, tmp_path: Path) -> None:
    (video, _) = open_sources([Source(path=davis)])
    rng = np.random.default_rng(0)
    masks = {name: read_mask(path) * (rng.random((96, 128)) < 0.9) for name, path in video.annotations().items()}
    write_masks(tmp_path / "masks", masks)
    frames = MaskFrames(video, tmp_path / "masks")
    scores = [frames.score(frame) for frame in frames.ranked]
    official = MaskScore.means([score_sequence("one", video.annotations(), tmp_path / "masks")])
    assert len(scores) == 10
    assert np.mean(scores) == pytest.approx(official["jf"], rel=1e-12)


def test_frames_without_truth(davis: Path, tmp_path: Path) -> None:
    for path in (davis / "Annotations" / "480p" / "one").iterdir():
        if path.name != "00000.png":
            path.unlink()
    videos = open_sources([Source(path=davis)])[:1]
    results = write_results(tmp_path / "results", ["one"])
    write_masks(results / "one", {name: np.zeros((96, 128), np.uint8) for name in videos[0].frames.names})
    page = page_of(results, videos=videos)
    assert "Frames, without ground truth" in page.text
    assert [tag for tag, _ in page.elements].count("img") == 1


def test_frames_are_chosen_from_many_videos_and_apart() -> None:
    rng = np.random.default_rng(3)
    scores = {video: {f"{n:03}": float(rng.random()) for n in range(40)} for video in "abcdef"}
    chosen = spread(scores, 4, best=False)
    assert len({video for video, _ in chosen}) == 4
    lowest = sorted(scores, key=lambda video: min(scores[video].values()))[:4]
    assert [video for video, _ in chosen] == lowest
    one = spread({"a": {f"{n:03}": n / 40 for n in range(40)}}, 3, best=True)
    assert one == [("a", "039"), ("a", "034"), ("a", "029")]
