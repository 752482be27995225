"""Pictures of joints and points: dots where they are, rings where they are hidden, and what the commands draw."""

import json
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.pictures.marks import Marks
from ted.pipeline.pictures.overlay import overlay_points
from ted.pipeline.pictures.palette import display_palette
from ted.pipeline.tasks.joints.results import JointResult
from ted.pipeline.tasks.points.results import TrackResult

from ...conftest import Cli
from ...inputs import frames_folder
from ...point_inputs import moving_square, result_marks, tapvid_clip, true_marks, write_jhmdb, write_pickle
from ...sheets import holds, read

# Drawing.


def test_a_point_is_a_disc_around_the_middle_of_its_pixel() -> None:
    frame = np.full((41, 61, 3), 90, np.uint8)
    drawn = overlay_points(frame, np.array([[30.5, 20.5], [np.nan, 3]]), [7, 1])
    colour = (drawn == display_palette()[7]).all(2)
    assert colour[20, 30]
    np.testing.assert_array_equal(colour, colour[::-1])  # (20, 30) is the middle of the frame
    np.testing.assert_array_equal(colour, colour[:, ::-1])
    changed = (drawn != frame).any(2)
    y, x = np.nonzero(changed)
    assert (y.min(), y.max(), x.min(), x.max()) == (15, 25, 25, 35)  # radius 3 and its rim; the other is not drawn
    assert (frame == 90).all()


def test_a_hidden_point_is_a_ring() -> None:
    frame = np.random.default_rng(0).integers(100, 200, (700, 700, 3)).astype(np.uint8)
    drawn = overlay_points(frame, np.array([[350.5, 350.5]]), [2], solid=np.array([False]))
    np.testing.assert_array_equal(drawn[348:353, 348:353], frame[348:353, 348:353])
    np.testing.assert_array_equal(drawn[350, 360], display_palette()[2])
    np.testing.assert_array_equal(drawn[340, 350], display_palette()[2])


def test_lines_join_points_that_are_drawn_and_earlier_points_lie_on_top() -> None:
    frame = np.full((100, 100, 3), 90, np.uint8)
    places = np.array([[20.5, 50.5], [80.5, 50.5], [np.nan, np.nan], [20.5, 50.5]])
    drawn = overlay_points(frame, places, [1, 2, 3, 4], links=[(0, 1), (1, 2)])
    np.testing.assert_array_equal(drawn[50, 50], [255, 255, 255])
    np.testing.assert_array_equal(drawn[50, 20], display_palette()[1])
    assert (drawn[:, 90:] == 90).all()


@pytest.mark.parametrize("place", [(-1e9, 5.0), (1e9, 1e9), (-3.0, -3.0), (64.0, 2.0)])
def test_points_outside_of_the_frame_draw_nothing_but_their_part(place: tuple[float, float]) -> None:
    frame = np.full((60, 60, 3), 90, np.uint8)
    drawn = overlay_points(frame, np.array([place, (30.0, 30.0)]), [1, 2])
    other = overlay_points(frame, np.array([(30.0, 30.0)]), [2])
    assert (drawn[8:, :56] == other[8:, :56]).all()


# Marks of results and of the truth.


def test_joints_lie_half_a_pixel_further_and_absent_ones_nowhere(tmp_path: Path) -> None:
    names = ("neck", "belly", "face")
    points = np.array([[[3.0, 4.0], [-1, -1], [0, 0]], [[5.0, 6.0], [7, 8], [-1, -1]]])
    JointResult(frames=("a", "b"), joints=names, points=points).write(tmp_path)
    marks = result_marks(tmp_path)
    assert marks.frames == ("a", "b")
    np.testing.assert_array_equal(marks.xy[0], [[3.5, 4.5], [5.5, 6.5]])
    np.testing.assert_array_equal(np.isnan(marks.xy).all(2), [[False, False], [True, False], [False, True]])
    np.testing.assert_array_equal(marks.visible, ~np.isnan(marks.xy).all(2))
    assert marks.names == {1: "neck", 2: "belly", 3: "face"}
    assert set(marks.links) == {(2, 0), (0, 1)}


def test_the_colour_of_a_point_is_that_of_its_track(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "clips.pkl", {"one": tapvid_clip(4)})
    (video,) = open_sources([Source(path=path)])
    true = true_marks(video, video.frames.names)
    assert true is not None
    assert true.colours == (1, 2, 3, 4)
    assert true.visible[:, 0].tolist() == [True, False, False, True]
    TrackResult(
        frames=video.frames.names,
        mode="strided",
        query_frames=np.array([0, 2, 3]),
        tracks=np.array([3, 1, 3]),
        places=true.xy[[3, 1, 3]],
        mass=np.ones((3, 4)),
        visible=np.ones((3, 4), bool),
    ).write(tmp_path)
    marks = result_marks(tmp_path)
    assert marks.colours == (4, 2, 4)
    assert marks.names == {4: "point 3", 2: "point 1"}
    np.testing.assert_array_equal(marks.xy, true.xy[[3, 1, 3]])


def test_true_joints_may_be_of_the_first_frames_alone(tmp_path: Path) -> None:
    (video,) = open_sources([Source(path=write_jhmdb(tmp_path / "root", {"one": 3}))])
    names = video.frames.names
    marks = true_marks(video, names[1:])
    assert marks is not None
    truth = moving_square(3)[1].transpose(1, 2, 0) + 0.5
    np.testing.assert_allclose(marks.xy, truth[:, 1:])


# The commands, on results made up from the truth.


def result_of(true: Marks, folder: Path, shift: float) -> None:
    folder.mkdir(parents=True)
    points = (true.xy - 0.5 + shift).transpose(1, 0, 2)
    joints = tuple(f"joint {number}" for number in range(1, points.shape[1] + 1))
    JointResult(frames=true.frames, joints=joints, points=points).write(folder)


@pytest.fixture
def jhmdb(tmp_path: Path) -> Path:
    """A root of one clip, and two results of it beside it: the truth, and the truth moved."""
    root = write_jhmdb(tmp_path / "jhmdb", {"one": 4})
    (video,) = open_sources([Source(path=root)])
    true = true_marks(video, video.frames.names)
    assert true is not None
    for name, shift in (("same", 0.0), ("moved", 6.0)):
        result_of(true, tmp_path / name / "one", shift)
    return root


def test_results_side_by_side_with_the_truth(cli: Cli, tmp_path: Path, jhmdb: Path) -> None:
    out, movies = tmp_path / "out", tmp_path / "movies"
    options = ("--results", tmp_path / "same", "--results", f"other={tmp_path / 'moved'}", "--frames", "0,3")
    shown = cli("show", "points", jhmdb, *options, "--out", out, "--json")
    assert shown.code == 0, shown.err
    assert [Path(path).name for path in json.loads(shown.out)["videos"][0]["pictures"]] == ["one-points.png"]
    sheet = read(out / "one-points.png")
    (video,) = open_sources([Source(path=jhmdb)])
    true, moved = true_marks(video, video.frames.names), result_marks(tmp_path / "moved" / "one")
    assert true is not None
    for frame in range(4):
        for marks in (true, moved):
            assert holds(sheet, marks.draw(video.frames.read(frame), frame)) == (frame in (0, 3))
    alone = cli("show", "points", jhmdb, *options[2:], "--no-truth", "--out", movies, "--movie")
    assert alone.code == 0, alone.err
    assert not holds(read(movies / "one-points.png"), true.draw(video.frames.read(0), 0))
    assert (movies / "one-points.mp4").is_file()


def test_points_of_tapvid_and_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "clips.pkl", {"one": tapvid_clip(4)})
    folder = frames_folder(tmp_path / "clip", moving_square(3)[0])
    (tmp_path / "points.csv").write_text("frame,id,x,y\n0,5,30,20.5\n2,5,38,28.5\n")
    for mode, source, options, place in (
        ("first", path, (), "one"),
        ("given", folder, ("--annotations", tmp_path / "points.csv"), "clip"),
    ):
        (video,) = open_sources([Source(path=source)]) if mode == "first" else open_own(folder, tmp_path / "points.csv")
        true = true_marks(video, video.frames.names)
        assert true is not None
        results = tmp_path / f"results-{mode}"
        (results / place).mkdir(parents=True)
        count = len(video.frames)
        TrackResult(
            frames=video.frames.names,
            mode="first" if mode == "first" else "given",
            query_frames=np.array([0]),
            tracks=np.array([0 if mode == "first" else 5]),
            places=np.full((1, count, 2), 33.0),
            mass=np.ones((1, count)),
            visible=np.arange(count)[None] < 2,
        ).write(results / place)
        shown = cli("show", "points", source, *options, "--results", results, "--out", tmp_path / mode)
        assert shown.code == 0, shown.err
        sheet = read(tmp_path / mode / f"{place}-points.png")
        for frame in (0, 2):
            assert holds(sheet, true.draw(video.frames.read(frame), frame))
            assert holds(sheet, result_marks(results / place).draw(video.frames.read(frame), frame))
        assert np.isnan(true.xy[0, 1]).all() == (mode == "given")


def open_own(folder: Path, table: Path) -> list[object]:
    return list(open_sources([Source(path=folder, annotations=table)]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--limit", 2), "the result has 4 frames, the selection 2; select the same frames"),
        (("--results", "EMPTY"), "there is no "),
        (("--results", "nowhere"), "there are no results at nowhere"),
    ],
)
def test_wrong_use(cli: Cli, tmp_path: Path, jhmdb: Path, options: tuple[object, ...], message: str) -> None:
    (tmp_path / "EMPTY").mkdir()
    given = [tmp_path / "EMPTY" if option == "EMPTY" else option for option in options]
    given = given if "--results" in given else [*given, "--results", tmp_path / "same"]
    refused = cli("show", "points", jhmdb, *given, "--out", tmp_path / "out")
    assert refused.code in (1, 2)
    assert message in refused.err
    assert not (tmp_path / "out").exists()
