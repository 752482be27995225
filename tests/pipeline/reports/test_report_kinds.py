"""Reports of joints, points, parts and boxes: the numbers of their tables, and frames drawn and ranked."""

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.reports.page import make_page, render_page
from ted.pipeline.tasks.boxes.frames import BoxFrames
from ted.pipeline.tasks.boxes.results import BOXES, BoxResult
from ted.pipeline.tasks.joints.frames import joint_frames
from ted.pipeline.tasks.joints.results import JOINTS, JointResult
from ted.pipeline.tasks.parts.task import PARTS
from ted.pipeline.tasks.points.frames import point_frames
from ted.pipeline.tasks.points.results import POINTS, TrackResult
from ted.pipeline.tasks.scoring import MetricSpec
from ted.store.errors import ConfigError, LabelError

from ..conftest import Cli
from ..inputs import frames_folder
from ..kind_inputs import FEATURES, extract, jhmdb, tapvid, vip, youtube_vos
from ..point_inputs import moving_square
from ..report_inputs import PageReader, check_page, exact, make_space, random_result, write_sweep

SETTING = ("--alpha", 0.3, "--temperature", 0.05, "--top-k", 2, "--radius", 4, "--context", 3)
SIZES = {"vip": "48x64", "boxes": "48x64"}
METRIC_SPECS = {"jhmdb": JOINTS, "tapvid": POINTS, "tapvid strided": POINTS, "vip": PARTS, "boxes": BOXES}
OPTIONS = {"tapvid strided": ("--query-mode", "strided"), "boxes": ("--target", "boxes")}
SOURCES = {"jhmdb": jhmdb, "tapvid": tapvid, "tapvid strided": tapvid, "vip": vip, "boxes": youtube_vos}


def page_of(*folders: Path, **options: Any) -> PageReader:
    return check_page(render_page(make_page(folders, title="A title", **options)))


def make_results(cli: Cli, source: Path, folder: Path, *more: object) -> Path:
    out = folder / "results"
    command = ("propagate", source, "--cache", folder / "cache", "--out", out, *FEATURES, *SETTING, *more)
    for result in (cli(*command), cli("evaluate", source, "--results", out)):
        assert result.code == 0, result.err
    return out


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_folder_of_results_and_a_sweep_stand_beside_each_other(cli: Cli, tmp_path: Path, kind: str) -> None:
    """A sweep of the same setting has the same scores, up to the rounding of the tables to three or four decimals."""
    source, metric_spec, more = SOURCES[kind](tmp_path), METRIC_SPECS[kind], OPTIONS.get(kind, ())
    extract(cli, source, tmp_path / "cache", "--frame-size", SIZES.get(kind, "64x96"))
    results = make_results(cli, source, tmp_path, *more)
    swept = tmp_path / "sweep"
    command = ("sweep", source, "--cache", tmp_path / "cache", "--out", swept, *FEATURES, *SETTING, *more)
    assert cli(*command, "--no-plots").code == 0
    page = page_of(swept, results, videos=open_sources([Source(path=source)]), pictures=1)
    (means,) = (rows for caption, rows in page.tables.items() if caption.startswith("Means over all"))
    assert [text for text, _ in means[0]][1 : 1 + len(metric_spec.columns)] == list(metric_spec.official.values())
    of_sweep, of_results = (np.array(row, dtype=float) for row in exact(means))
    np.testing.assert_allclose(of_results, of_sweep, atol=5.01e-4)
    bars = page.tables[f"{title_of(metric_spec)} of each video"]
    assert len(bars) == 3
    for swept_value, value in exact(bars):
        assert float(value or "nan") == pytest.approx(float(swept_value or "nan"), abs=5.01e-4)
    assert "not scored" not in page.text
    assert "there are no scores" not in page.text
    nouns = {"jhmdb": "joints", "vip": "masks", "boxes": "boxes"}
    pictures = [attributes["alt"] or "" for tag, attributes in page.elements if tag == "img"]
    assert any(alt.startswith(f"the true {nouns.get(kind, 'points')} over frame") for alt in pictures)
    measure = "J&F" if kind == "vip" else title_of(metric_spec)
    assert any(f"with {measure} " in alt for alt in pictures)
    assert not [note for note in make_page([results], title="").notes if "score" in note]


def title_of(metric_spec: MetricSpec) -> str:
    return metric_spec.official[metric_spec.order[0]]


def test_shares_are_the_percentages_of_the_table_digit_by_digit(cli: Cli, tmp_path: Path) -> None:
    source = tapvid(tmp_path)
    extract(cli, source, tmp_path / "cache")
    results = make_results(cli, source, tmp_path)
    with (results / "tapvid_first.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = page_of(results)
    (means,) = exact(page.tables["Means over all videos"])
    assert [Decimal(text or "nan") for text in means] == [Decimal(rows[-1][column]) / 100 for column in POINTS.columns]
    assert exact(page.tables["results: tapvid_first"])[-1] == [rows[-1][column] for column in POINTS.columns]


def test_queries_of_both_modes_are_two_results(tmp_path: Path) -> None:
    header = ",".join(["Video", *POINTS.columns])
    for mode, value in (("first", "50.0000"), ("strided", "25.0000")):
        rows = "\n".join(",".join([name, *[value] * len(POINTS.columns)]) for name in ("one", "mean"))
        (tmp_path / f"tapvid_{mode}.csv").write_text(f"{header}\n{rows}\n")
    page = page_of(tmp_path)
    means = page.tables["Means over all videos"]
    assert [row[0][0] for row in means[1:]] == [f"{tmp_path.name}, first", f"{tmp_path.name}, strided"]
    assert [row[0] for row in exact(means)] == ["0.500000", "0.250000"]


def test_masks_scored_by_their_boxes_are_compared_with_boxes(cli: Cli, tmp_path: Path) -> None:
    source = youtube_vos(tmp_path)
    extract(cli, source, tmp_path / "cache", "--frame-size", "48x64")
    masks = make_results(cli, source, tmp_path).rename(tmp_path / "masks")
    assert [item.metric_spec.order[0] for item in make_page([masks], title="").compared] == ["jf"]
    boxes = make_results(cli, source, tmp_path, "--target", "boxes")
    with pytest.raises(ConfigError, match="different measures do not go into one page"):
        make_page([masks, boxes], title="")
    assert cli("evaluate", source, "--results", masks, "--boxes").code == 0
    page = page_of(masks, boxes)
    assert "IoU of each video" in page.tables
    assert {"masks: boxes_results-val", "masks: global_results-val", "results: boxes_results-val"} <= page.tables.keys()
    by_masks = page_of(masks)
    assert "J&F of each video" in by_masks.tables
    assert "masks: global_results-val" not in by_masks.tables


def test_other_measures_are_refused_together(cli: Cli, tmp_path: Path) -> None:
    source = jhmdb(tmp_path)
    extract(cli, source, tmp_path / "cache")
    results = make_results(cli, source, tmp_path)
    masks = write_sweep(tmp_path / "masks", random_result(["one"], make_space()))
    with pytest.raises(ConfigError, match="different measures do not go into one page"):
        make_page([results, masks], title="both")
    table = results / "pck_per-video.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(ConfigError, match="does not end with the row 'all'"):
        make_page([results], title="")
    table.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    with pytest.raises(ConfigError, match="lacks the columns Found"):
        make_page([results], title="")


# Frames.


def test_frames_of_joints_are_scored_as_the_video(cli: Cli, tmp_path: Path) -> None:
    """If all joints are present in all frames, the mean over frames is the score of the video."""
    root = jhmdb(tmp_path)
    video = open_sources([Source(path=root)])[0]
    truth = moving_square(5, 0)[1].transpose(2, 1, 0)
    # A person is 0.6 times a diagonal of about 18 pixels: 0.2 of that are about 2.
    points = truth.copy()
    points[2, :2, 0] += 5
    points[3] += 5
    points[4, 3, 1] += 1
    names = video.frames.names
    JointResult(frames=names, joints=tuple("abcd"), points=points).write(folder := made(tmp_path / "results" / "one"))
    frames = joint_frames(video, folder)
    assert frames.ranked == names[1:]
    assert [frames.score(name) for name in names] == [None, 100, 50, 0, 100]
    (tmp_path / "results/one/ted.json").write_text("{}")
    page = make_page([tmp_path / "results"], title="", videos=[video], pictures=1)
    assert [(view.kind, view.frame) for view in page.frames] == [("best", names[1]), ("worst", names[3])]
    assert [picture.caption for picture in page.frames[1].pictures] == ["truth", "results: PCK@0.2 0.000"]
    JointResult(frames=names, joints=tuple("abc"), points=points[:, :3]).write(folder)
    with pytest.raises(LabelError, match="has 3 joints, the ground truth has 4"):
        joint_frames(video, folder)
    JointResult(frames=("x",), joints=tuple("abcd"), points=points[:1]).write(folder)
    with pytest.raises(LabelError, match="has frame x, which is not selected in video 'one'"):
        joint_frames(video, folder)


def test_frames_of_points_are_scored_as_a_video_of_one_frame(tmp_path: Path) -> None:
    video = open_sources([Source(path=tapvid(tmp_path))])[0]
    names, size = video.frames.names, video.frames.size
    truth = video.tracks.read(names, size)  # type: ignore[attr-defined]
    tracks = np.array([0, 1])  # the second is occluded in the first two frames
    places = truth.xy[tracks].copy()
    places[0, 3] += 90  # lost
    places[0, 4] += np.array([3, 0]) * size[1] / 256  # 3 pixels of the raster: within 4, 8 and 16 of 1, 2, 4, 8, 16
    visible = np.ones((2, len(names)), bool)
    visible[1, 5] = False
    result = TrackResult(
        frames=names, mode="first", query_frames=np.array([0, 2]), tracks=tracks, places=places,
        mass=np.ones((2, len(names))), visible=visible,
    )  # fmt: skip
    result.write(folder := made(tmp_path / "one"))
    frames = point_frames(video, folder)
    scores = [frames.score(name) for name in names]
    # The first frame has no queries; the second point counts from the fourth on. A lost point is a miss and an error.
    nearly = np.mean([1 / 3, 1 / 3, 1, 1, 1])
    np.testing.assert_allclose(scores[1:], [1, 1, 1 / 3, nearly, 1 / 2, 1])  # type: ignore[arg-type]
    assert scores[0] is None
    own = TrackResult(**{**vars(result), "mode": "given"})
    own.write(folder)
    given = point_frames(video, folder)
    assert (given.ranked, given.score(names[3])) == ((), None)
    TrackResult(**{**vars(result), "tracks": np.array([0, 9])}).write(folder)
    with pytest.raises(LabelError, match="more tracks than the ground truth, which has 4"):
        point_frames(video, folder)


def test_frames_of_boxes_are_scored_by_overlap(tmp_path: Path) -> None:
    """Score two objects, the second annotated in the third frame, with one shifted and one missing box."""
    video = open_sources([Source(path=youtube_vos(tmp_path))])[0]
    names = video.frames.names
    truth = BoxFrames(video, written(tmp_path / "true", names, np.zeros((2, 5, 4))))._truth
    assert truth is not None
    boxes = truth.copy()
    boxes[0, 3, 0] += boxes[0, 3, 2] / 2  # half of it: IoU 1/3
    boxes[1, 4] = np.nan
    frames = BoxFrames(video, written(tmp_path / "moved", names, boxes))
    np.testing.assert_allclose([frames.score(name) for name in names[1:]], [1, 1, (1 / 3 + 1) / 2, 1 / 2])  # type: ignore[arg-type]
    assert frames.score(names[0]) is None


def written(folder: Path, names: tuple[str, ...], boxes: Any) -> Path:
    given = np.zeros((2, 5), bool)
    given[0, 0] = given[1, 2] = True
    BoxResult(
        frames=names,
        numbers=np.arange(1, 6),
        ids=np.array([1, 2]),
        boxes=boxes,
        mass=np.ones((2, 5)),
        given=given,
    ).write(made(folder))
    return folder


def test_pictures_of_points_of_ones_own(tmp_path: Path) -> None:
    """Without ground truth, the last frame is shown."""
    (video,) = open_sources([Source(path=frames_folder(tmp_path / "clip", moving_square(3)[0]))])
    names = video.frames.names
    TrackResult(
        frames=names, mode="given", query_frames=np.array([0]), tracks=np.array([5]), places=np.full((1, 3, 2), 20.0),
        mass=np.ones((1, 3)), visible=np.ones((1, 3), bool),
    ).write(folder := made(tmp_path / "results/clip"))  # fmt: skip
    (folder / "ted.json").write_text("{}")
    page = make_page([tmp_path / "results"], title="", videos=[video])
    assert [(view.kind, view.frame) for view in page.frames] == [("", names[-1])]
    assert [picture.alt for picture in page.frames[0].pictures] == ["the points of results over frame 2 of clip"]
    assert "there are no scores" in " ".join(page.notes)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_report_names_the_measure(cli: Cli, tmp_path: Path) -> None:
    source = jhmdb(tmp_path)
    extract(cli, source, tmp_path / "cache")
    lists = ("--alpha", "0,0.3", "--temperature", "0.05,0.3", "--top-k", 2, "--radius", 4, "--context", 3)
    command = ("sweep", source, "--cache", tmp_path / "cache", "--out", tmp_path / "sweep", *FEATURES, *lists)
    assert cli(*command, "--no-plots").code == 0
    with (tmp_path / "sweep" / "settings.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    page = check_page(render_page(make_page([tmp_path / "sweep"], title="joints")))
    assert "PCK@0.2" in page.text
    assert "J&F" not in page.text
    means = page.tables["Means over all videos"]
    assert [cell[0] for cell in means[0]][1:7] == [*(f"PCK@{t}" for t in (0.1, 0.2, 0.3, 0.4, 0.5)), "found"]
    assert [value for _, value in means[1] if value] == [ranked[0][name] for name in JOINTS.columns]
    assert [row[0][0] for row in page.tables["PCK@0.2 of each video"]] == ["video", "one", "two"]
    assert "PCK@0.2 over temperature" in page.tables  # of two controls
