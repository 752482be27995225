"""Boxes and points of one's own by the commands, on features that know every place again: the result is known."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.pictures.overlay import overlay_boxes
from ted.pipeline.pictures.palette import display_palette
from ted.pipeline.tasks.boxes.results import BoxResult
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.points.results import TrackResult

from ..conftest import Cli, Result
from ..inputs import frames_folder
from ..point_inputs import SIZE, moving_square, square_features

COUNT = 7
EXACT = ("--feature", "made:0:features=1", "--radius", 8, "--top-k", 1, "--temperature", 0.01, "--context", 2)


def square(frame: int) -> list[float]:
    """Box of the square of `moving_square`: 32 pixels that go by 4."""
    return [4.0 * (2 + frame), 4.0 * (2 + frame), 32.0, 32.0]


def bring(cli: Cli, source: Path, tmp_path: Path, name: str, *more: object) -> None:
    arrays = tmp_path / "arrays"
    arrays.mkdir(exist_ok=True)
    np.save(arrays / f"{name}.npy", square_features(COUNT)[: int(str(more[-1])) if more else COUNT])
    options = ("--arrays", arrays, "--name", "made", "--layout", "fyxc", "--frame-size", f"{SIZE[0]}x{SIZE[1]}")
    result = cli("import", source, "--cache", tmp_path / "cache", *options, *more, "--overwrite")
    assert result.code == 0, result.err


@pytest.fixture
def clip(tmp_path: Path, cli: Cli) -> Path:
    """A folder of frames, 0.png to 6.png, and its features in a cache beside it."""
    folder = frames_folder(tmp_path / "clip", moving_square(COUNT)[0])
    bring(cli, folder, tmp_path, "clip")
    return folder


def propagate(cli: Cli, tmp_path: Path, *arguments: object) -> Result:
    return cli("propagate", *arguments, "--cache", tmp_path / "cache", "--out", tmp_path / "out", *EXACT)


def give(tmp_path: Path, name: str, *lines: str) -> Path:
    path = tmp_path / "given" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_box_of_a_later_frame_is_followed_both_ways(cli: Cli, clip: Path, tmp_path: Path) -> None:
    x, y, w, h = square(3)
    # The second object is given in the sixth frame: a part of the square, whose edges lie within cells.
    give(tmp_path, "boxes.csv", f"4,7,{x},{y},{w},{h}", "6,2,34.5,33,10.25,17.5,1,-1,-1,-1")
    result = propagate(cli, tmp_path, clip, "--annotations", tmp_path / "given", "--overlay")
    assert result.code == 0, result.err
    found = BoxResult.read(tmp_path / "out/clip")
    assert (found.frames, found.ids.tolist(), found.numbers.tolist()) == (
        ("0", "1", "2", "3", "4", "5", "6"), [2, 7], [1, 2, 3, 4, 5, 6, 7]
    )  # fmt: skip
    np.testing.assert_allclose(found.boxes[1], [square(frame) for frame in range(COUNT)], atol=1e-3)
    moved = 4.0 * (np.arange(COUNT)[:, None] - 5) * [1, 1, 0, 0]
    np.testing.assert_allclose(found.boxes[0], np.array([34.5, 33, 10.25, 17.5]) + moved, atol=1e-3)
    np.testing.assert_array_equal(found.boxes[0, 5], [34.5, 33, 10.25, 17.5])
    assert np.argwhere(found.given).tolist() == [[0, 5], [1, 3]]
    np.testing.assert_allclose(found.mass[1], 1, atol=1e-4)
    with (tmp_path / "out/clip/boxes.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == COUNT * 2
    assert rows[1] == ["1", "7", "8.000", "8.000", "32.000", "32.000", "1.0000", "-1", "-1", "-1"]
    assert (tmp_path / "out/overlays/clip.mp4").is_file()

    # A result is an annotation again; the same result needs no work.
    again = cli(
        "propagate", clip, "--annotations", tmp_path / "out/clip/boxes.csv", "--cache", tmp_path / "cache",
        "--out", tmp_path / "again", *EXACT,
    )  # fmt: skip
    assert again.code == 0, again.err
    np.testing.assert_allclose(BoxResult.read(tmp_path / "again/clip").boxes, found.boxes, atol=1e-3)
    assert "there before" in propagate(cli, tmp_path, clip, "--annotations", tmp_path / "given").err
    give(tmp_path, "boxes.csv", f"4,7,{x + 1},{y},{w},{h}")
    refused = propagate(cli, tmp_path, clip, "--annotations", tmp_path / "given")
    assert (refused.code, "result of other settings" in refused.err) == (2, True)


def test_boxes_are_scored_against_a_table(cli: Cli, clip: Path, tmp_path: Path) -> None:
    give(tmp_path, "boxes.csv", "1,7," + ",".join(map(str, square(0))))
    propagate(cli, tmp_path, clip, "--annotations", tmp_path / "given")
    # Of the six frames after the first, one is said to be 16 pixels aside (IoU 1/3), and one has no truth.
    boxes = [square(frame) for frame in range(COUNT)]
    boxes[2][0] += 16
    lines = [f"{frame + 1},7," + ",".join(map(str, box)) for frame, box in enumerate(boxes) if frame != 5]
    truth = tmp_path / "truth.txt"
    truth.write_text("\n".join(lines))
    shown = cli("evaluate", clip, "--annotations", truth, "--results", tmp_path / "out")
    assert shown.code == 0, shown.err
    assert "clip_7" in shown.out
    values = json.loads(cli("evaluate", clip, "--annotations", truth, "--results", tmp_path / "out", "--json").out)
    (scored,) = values["objects"]
    assert (scored["video"], scored["object"], scored["Frames"], scored["Found"]) == ("clip", 7, 5, 1)
    assert scored["IoU"] == pytest.approx((4 + 1 / 3) / 5, abs=1e-4)
    # IoU 1 but for rounding is above 0 to 0.95, a third above 0 to 0.3.
    assert scored["Success"] == pytest.approx((4 * 20 + 7) / 5 / 21)
    assert scored["Precision"] == 1
    assert values["mean"]["IoU"] == scored["IoU"]
    with (tmp_path / "out/boxes_results-val.csv").open() as file:
        assert [row["Object"] for row in csv.DictReader(file)] == ["clip_7", "mean"]
    truth.write_text(lines[0].replace(",7,", ",8,"))
    other = cli("evaluate", clip, "--annotations", truth, "--results", tmp_path / "out")
    assert (other.code, "object 7 of" in other.err, "has no true box" in other.err) == (1, True, True)
    fewer = cli("evaluate", clip, "--annotations", truth, "--results", tmp_path / "out", "--limit", 3)
    assert (fewer.code, "give the same --every and --limit as" in fewer.err) == (1, True)


def test_frames_of_boxes_are_counted_in_the_whole_video(
    cli: Cli, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring(cli, clip, tmp_path, "clip", "--every", 2, "--limit", 3)
    table = give(tmp_path, "boxes.csv", *(f"{frame},1,8,8,32,32" for frame in (2, 3, 99)))
    result = propagate(cli, tmp_path, clip, "--annotations", table, "--every", 2, "--limit", 3)
    assert result.code == 0, result.err
    assert "2 rows of" in caplog.text
    found = BoxResult.read(tmp_path / "out/clip")
    assert found.numbers.tolist() == [1, 3, 5]
    assert np.argwhere(found.given).tolist() == [[0, 1]]
    assert [line.split(",")[0] for line in (tmp_path / "out/clip/boxes.csv").read_text().splitlines()][:2] == ["1", "3"]


def test_points_of_ones_own_are_followed_both_ways_and_come_back(cli: Cli, clip: Path, tmp_path: Path) -> None:
    table = give(tmp_path, "points.csv", "frame,id,x,y", "3,12,30.25,31", "3,4,40,22.5", "5,9,45,44")
    result = propagate(cli, tmp_path, clip, "--annotations", table)
    assert result.code == 0, result.err
    found = TrackResult.read(tmp_path / "out/clip")
    assert (found.mode, found.tracks.tolist(), found.query_frames.tolist()) == ("given", [4, 9, 12], [3, 5, 3])
    moved = 4.0 * (np.arange(COUNT)[:, None] - 3)
    np.testing.assert_allclose(found.places[2], np.array([30.25, 31]) + moved, atol=1e-3)
    np.testing.assert_allclose(found.places[0], np.array([40, 22.5]) + moved, atol=1e-3)
    np.testing.assert_allclose(found.places[1], np.array([45, 44]) + moved - 8, atol=1e-3)
    assert found.visible.all()
    assert propagate(cli, tmp_path, clip, "--annotations", table, "--overlay").code == 0
    assert (tmp_path / "out/overlays/clip.png").is_file()
    again = cli(
        "propagate", clip, "--annotations", tmp_path / "out/clip", "--cache", tmp_path / "cache",
        "--out", tmp_path / "again", *EXACT,
    )  # fmt: skip
    assert again.code == 0, again.err
    back = TrackResult.read(tmp_path / "again/clip")
    np.testing.assert_array_equal(back.tracks, found.tracks)
    np.testing.assert_allclose(back.places, found.places, atol=1e-3)
    scored = cli("evaluate", clip, "--annotations", table, "--results", tmp_path / "out")
    assert (scored.code, "cannot be scored" in scored.err) == (2, True)


def test_tables_that_do_not_fit_the_video(cli: Cli, clip: Path, tmp_path: Path) -> None:
    header = "frame,id,x,y"
    for number, (lines, message) in enumerate([
        (["8,1,0,0,9,9"], "line 1 of {path} has frame 8: frames of boxes are numbered, here 1 to 7"),
        (["0,1,0,0,9,9"], "has frame 0"),
        (["999999999,1,0,0,9,9"], "has frame 999999999"),
        (["1,1,0,0,9,9", "1,1,1,0,9,9"], "line 2 of {path} annotates object 1 in frame 1 twice; the first"),
        (["1,1,96,0,9,9"], "entirely outside the frame, which is 96x64 pixels"),
        (["1,1,-9,0,9,9"], "entirely outside the frame"),
        (["1,1,nan,0,9,9"], "line 1 of {path} has 'nan' for x"),
        ([header, "00000,1,3,3"], "line 2 of {path} has frame '00000': frames of points have their names, here 0 to"),
        ([header, "0,1,3,64.5"], "line 2 of {path} has a point outside the frame, which is 96x64"),
        ([header, "0,1,-0.5,3"], "has a point outside"),
        ([header, "0,1,3,3", "1,1,3,3", "0,1,3,4"], "line 4 of {path} annotates object 1 in frame 0 twice"),
    ]):  # fmt: skip
        path = give(tmp_path, f"{number}.csv", *lines)
        result = propagate(cli, tmp_path, clip, "--annotations", path)
        assert (result.code, message.format(path=path) in result.err) == (1, True), (lines, result.err)
        assert not (tmp_path / "out/clip").exists()
    # Beyond a limit, frames may exist: what is left out is not wrong, but nothing is left.
    bring(cli, clip, tmp_path, "clip", "--limit", 2)
    late = propagate(cli, tmp_path, clip, "--annotations", give(tmp_path, "a.csv", "5,1,0,0,9,9"), "--limit", 2)
    assert (late.code, "has no row for a selected frame" in late.err) == (1, True)


def test_wrong_use_says_so(cli: Cli, clip: Path, tmp_path: Path) -> None:
    table = give(tmp_path, "boxes.csv", "1,1,0,0,9,9")
    given = (clip, "--annotations", table)
    soft = propagate(cli, tmp_path, *given, "--save-soft")
    assert (soft.code, "--save-soft is for masks" in soft.err) == (2, True)
    points = give(tmp_path, "points.csv", "frame,id,x,y", "0,1,3,3")
    result = propagate(cli, tmp_path, clip, "--annotations", points, "--target=boxes")
    assert (result.code, "has annotations for points, not for boxes" in result.err) == (2, True)
    both = propagate(cli, tmp_path, clip, "--annotations", tmp_path / "given")
    assert (both.code, "several tables" in both.err) == (1, True)
    points.unlink()
    write_mask(tmp_path / "given/0.png", np.ones(SIZE, np.uint8))
    mixed = propagate(cli, tmp_path, clip, "--annotations", tmp_path / "given")
    assert (mixed.code, "has masks and the table boxes.csv" in mixed.err) == (1, True)
    points = give(tmp_path, "points-again.csv", "frame,id,x,y", "0,1,3,3")
    for path, message in ((table, "annotated boxes, but no ground truth"), (points, "points without true tracks")):
        options = ("--cache", tmp_path / "cache", "--image-feature", "made:0:features", "--alpha", 0)
        swept = cli("sweep", clip, "--annotations", path, *options, "--out", tmp_path / "sweep")
        assert (swept.code, message in swept.err) == (2, True)
    assert not (tmp_path / "sweep").exists()
    (tmp_path / "out").mkdir()
    missing = cli("evaluate", *given, "--results", tmp_path / "out")
    assert (missing.code, "has annotated boxes" in missing.err or "there is no" in missing.err) == (1, True)


def test_boxes_around_the_masks_of_a_dataset(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    run = ("--cache", extracted, "--radius", 3, "--top-k", 5)
    boxes, masks = tmp_path / "boxes", tmp_path / "masks"
    result = cli("propagate", davis_source, *run, "--out", boxes, "--target", "boxes")
    assert result.code == 0, result.err
    found = BoxResult.read(boxes / "one")
    first = read_mask(davis_source / "Annotations/480p/one/00000.png")
    for number, box in zip(found.ids, found.boxes[:, 0], strict=True):
        y, x = np.nonzero(first == number)
        assert box.tolist() == [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
    assert cli("propagate", davis_source, *run, "--out", masks).code == 0
    scored = [
        json.loads(cli("evaluate", davis_source, "--results", folder, "--json", *more).out)["objects"]
        for folder, more in ((boxes, ()), (masks, ("--boxes",)))
    ]
    # Two objects in each video, of 4 and 5 frames; the first is given.
    wanted = [("one", 1, 3), ("one", 2, 3), ("two", 1, 4), ("two", 2, 4)]
    for objects in scored:
        assert [(row["video"], row["object"], row["Frames"]) for row in objects] == wanted
    assert "J&F-Mean" in cli("evaluate", davis_source, "--results", masks).out
    shown = cli("show", "boxes", davis_source, "--results", boxes, "--results", masks, "--out", tmp_path / "pictures")
    assert shown.code == 0, shown.err
    assert (tmp_path / "pictures/one-boxes.png").is_file()


def test_boxes_are_drawn_inside_of_their_edges() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    drawn = overlay_boxes(frame, {1: [10, 5, 20, 10], 256: [-5, 30, 10, 20], 3: [np.nan] * 4})
    red = (drawn == display_palette()[1]).all(2)
    assert red[5, 10:30].all()
    assert red[14, 10:30].all()
    assert red[5:15, [10, 29]].all()
    assert red[5:15, 10:30].sum() == 2 * 20 + 2 * 8
    # Number 256 has the colour of 2; its left and lower edges lie outside, and it is closed at the frame's.
    np.testing.assert_array_equal(drawn[30, 0], display_palette()[2])
    assert not frame.any()
