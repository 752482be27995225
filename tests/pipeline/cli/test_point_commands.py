"""Joints and points by the commands, on features that know every place again, so that the right result is known."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.tasks.joints.results import JointResult
from ted.pipeline.tasks.points.results import TrackResult
from ted.store.errors import LabelError

from ..conftest import Cli, Result
from ..point_inputs import (
    moving_square,
    result_marks,
    square_features,
    tapvid_clip,
    write_jhmdb,
    write_joints,
    write_pickle,
)
from ..sheets import holds, read

SIZE = "64x96"  # of processed frames: that of the frames
EXACT = ("--feature", "made:0:features=1", "--radius", 8, "--top-k", 1, "--temperature", 0.01, "--context", 2)


def bring(cli: Cli, source: Path, cache: Path, features: dict[str, Any]) -> None:
    arrays = cache.parent / "arrays"
    arrays.mkdir(exist_ok=True)
    for name, array in features.items():
        np.save(arrays / f"{name}.npy", array)
    options = ("--cache", cache, "--arrays", arrays, "--name", "made", "--layout", "fyxc", "--frame-size", SIZE)
    result = cli("import", source, *options, "--overwrite")
    assert result.code == 0, result.err


def propagate(cli: Cli, source: Path, cache: Path, out: Path, *more: object) -> Result:
    return cli("propagate", source, "--cache", cache, "--out", out, *EXACT, *more)


@pytest.fixture
def jhmdb(tmp_path: Path, cli: Cli) -> Path:
    """A root of two clips, and their features in a cache beside it."""
    root = write_jhmdb(tmp_path / "jhmdb", {"one": 5, "two": 3})
    bring(cli, root, tmp_path / "cache", {"one": square_features(5, 0), "two": square_features(3, 1)})
    return root


def test_joints_that_move_with_their_cells_are_found(tmp_path: Path, cli: Cli, jhmdb: Path) -> None:
    out = tmp_path / "results"
    assert propagate(cli, jhmdb, tmp_path / "cache", out).code == 0
    truth = moving_square(5, 0)[1]
    result = JointResult.read(out / "one")
    assert result.frames == ("00001", "00002", "00003", "00004", "00005")
    np.testing.assert_allclose(result.points[0], truth[:, :, 0].T)
    # Each frame moves by a cell, exactly; the place in the first frame is within a cell.
    moved = result.points[1:] - result.points[1]
    np.testing.assert_allclose(moved, np.arange(4)[:, None, None] * 4 + np.zeros((4, 4, 2)), atol=1e-4)
    assert np.abs(result.points - truth.transpose(2, 1, 0)).max() < 4
    with (out / "one" / "joints.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 4
    assert (rows[5]["frame"], rows[5]["joint"]) == ("00002", "joint 2")
    assert (float(rows[5]["x"]), float(rows[5]["y"])) == pytest.approx(result.points[1, 1], abs=5e-4)


def test_pck_is_printed_and_written(tmp_path: Path, cli: Cli, jhmdb: Path) -> None:
    out = tmp_path / "results"
    propagate(cli, jhmdb, tmp_path / "cache", out)
    # One of the clip's true joints is elsewhere in one of the four scored frames.
    truth = moving_square(5, 0)[1]
    truth[:, 2, 4] += 30
    write_joints(jhmdb, "one", truth)
    shown = cli("evaluate", jhmdb, "--results", out)
    assert shown.code == 0, shown.err
    assert "PCK@0.1" in shown.out
    values = json.loads(cli("evaluate", jhmdb, "--results", out, "--json").out)
    assert values["mean"]["found"] == 100
    # Joint 3: 5 of 6 samples; the others all.
    assert values["joints"]["joint 3"]["PCK@0.5"] == pytest.approx(100 * 5 / 6)
    assert values["mean"]["PCK@0.5"] == pytest.approx((300 + 100 * 5 / 6) / 4)
    assert values["videos"]["one"]["PCK@0.5"] == pytest.approx((300 + 75) / 4)
    assert values["videos"]["two"]["PCK@0.5"] == 100
    with (out / "pck_per-joint.csv").open() as file:
        table = {row["Joint"]: row for row in csv.DictReader(file)}
    assert float(table["joint 3"]["PCK@0.5"]) == pytest.approx(100 * 5 / 6, abs=1e-4)
    assert float(table["mean"]["PCK@0.5"]) == pytest.approx(values["mean"]["PCK@0.5"], abs=1e-4)
    with (out / "pck_per-video.csv").open() as file:
        assert [row["Video"] for row in csv.DictReader(file)] == ["one", "two", "all"]


def test_joints_are_drawn_over_their_frames(tmp_path: Path, cli: Cli, jhmdb: Path) -> None:
    out = tmp_path / "results"
    done = propagate(cli, jhmdb, tmp_path / "cache", out, "--overlay", "--json")
    assert done.code == 0, done.err
    pictures = [Path(path) for row in json.loads(done.out)["videos"] for path in row["overlay"]]
    assert [path.name for path in pictures] == ["one.png", "one.mp4", "two.png", "two.mp4"]
    (video, _) = open_sources([Source(path=jhmdb)])
    marks = result_marks(out / "one")
    for frame in range(5):
        assert holds(read(pictures[0]), marks.draw(video.frames.read(frame), frame))


def test_a_result_of_the_same_is_left_alone_and_one_of_other_joints_is_not(
    tmp_path: Path, cli: Cli, jhmdb: Path
) -> None:
    out = tmp_path / "results"
    propagate(cli, jhmdb, tmp_path / "cache", out)
    again = json.loads(propagate(cli, jhmdb, tmp_path / "cache", out, "--json").out)
    assert [row["skipped"] for row in again["videos"]] == [True, True]
    truth = moving_square(5, 0)[1]
    truth[0, 0] += 1
    write_joints(jhmdb, "one", truth)
    refused = propagate(cli, jhmdb, tmp_path / "cache", out)
    assert (refused.code, "result of other settings" in refused.err) == (2, True)
    assert propagate(cli, jhmdb, tmp_path / "cache", out, "--overwrite").code == 0


def test_kept_affinities_serve_joints(tmp_path: Path, cli: Cli, jhmdb: Path) -> None:
    plain = json.loads(propagate(cli, jhmdb, tmp_path / "cache", tmp_path / "plain", "--json").out)
    propagate(cli, jhmdb, tmp_path / "cache", tmp_path / "keeping", "--affinities", "keep")
    kept = json.loads(propagate(cli, jhmdb, tmp_path / "cache", tmp_path / "kept", "--json").out)
    assert [row["affinities"] for run in (plain, kept) for row in run["videos"]] == ["features"] * 2 + ["kept"] * 2
    np.testing.assert_array_equal(
        JointResult.read(tmp_path / "plain" / "one").points, JointResult.read(tmp_path / "kept" / "one").points
    )


def tapvid(tmp_path: Path, cli: Cli, *, count: int = 7, cover_from: int | None = None, drop: int | None = None) -> Path:
    """A pickle of one video, and its features in a cache beside it. Its last point is covered from a frame on."""
    clip = tapvid_clip(count)
    if cover_from is not None:
        clip["occluded"][3, cover_from:] = True
    if drop is not None:
        clip = clip | {key: np.delete(clip[key], drop, axis=0) for key in ("points", "occluded")}
    path = write_pickle(tmp_path / "clips.pkl", {"one": clip})
    bring(cli, path, tmp_path / "cache", {"one": square_features(count, 0, cover_from)})
    return path


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_points_that_move_with_their_cells_are_found_both_ways(tmp_path: Path, cli: Cli, mode: str) -> None:
    path, out = tapvid(tmp_path, cli), tmp_path / "results"
    assert propagate(cli, path, tmp_path / "cache", out, "--query-mode", mode).code == 0
    result = TrackResult.read(out / "one")
    wanted = {"first": [(0, 0), (2, 1), (0, 3)], "strided": [(0, 0), (0, 3), (5, 0), (5, 1), (5, 3)]}[mode]
    assert list(zip(result.query_frames.tolist(), result.tracks.tolist(), strict=True)) == wanted
    truth = moving_square(7, 0)[1].transpose(1, 2, 0) + 0.5  # (track, frame, 2)
    for query, (frame, track) in enumerate(wanted):
        reached = slice(0, 7) if mode == "strided" else slice(frame, 7)
        # Sub-pixel: float32 in the pickle and in the labels.
        np.testing.assert_allclose(result.places[query, reached], truth[track, reached], atol=1e-3)
        assert result.visible[query, reached].all()
        np.testing.assert_allclose(result.mass[query, reached], 1, atol=1e-5)
        assert np.isnan(result.places[query, : reached.start]).all()
    scores = json.loads(cli("evaluate", path, "--results", out, "--json").out)
    assert scores["query_mode"] == mode
    assert scores["mean"]["average_pts_within_thresh"] == 1
    # The second point is hidden in two frames, where it is said to be in sight, and asked for before frame 5 strided.
    assert scores["mean"]["occlusion_accuracy"] == (1 if mode == "first" else pytest.approx(28 / 30))
    with (out / "one" / "tracks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7 * len(wanted)
    assert rows[0] == {
        "frame": "00000", "point": "0", "track": "0", "x": "17.500", "y": "16.500", "visible": "1", "mass": "1.0000",
        "confidence": "1.0000",
    }  # fmt: skip
    assert f"tapvid_{mode}.csv" in cli("evaluate", path, "--results", out).out


def test_a_covered_point_is_said_to_be_hidden(tmp_path: Path, cli: Cli) -> None:
    path, out = tapvid(tmp_path, cli, cover_from=3), tmp_path / "results"
    propagate(cli, path, tmp_path / "cache", out)
    result = TrackResult.read(out / "one")
    assert result.visible[-1].tolist() == [True] * 3 + [False] * 4
    assert result.visible[0].all()
    scores = json.loads(cli("evaluate", path, "--results", out, "--json").out)["mean"]
    assert scores["occlusion_accuracy"] == scores["average_jaccard"] == 1


def test_points_do_not_influence_each_other(tmp_path: Path, cli: Cli) -> None:
    path = tapvid(tmp_path, cli)
    more = ("--top-k", 7, "--temperature", 0.3, "--query-mode", "strided")
    propagate(cli, path, tmp_path / "cache", tmp_path / "all", *more)
    tapvid(tmp_path, cli, drop=1)
    propagate(cli, path, tmp_path / "cache", tmp_path / "fewer", *more)
    every, fewer = TrackResult.read(tmp_path / "all" / "one"), TrackResult.read(tmp_path / "fewer" / "one")
    others = every.tracks != 1
    assert others.sum() == len(fewer.tracks) == 4
    np.testing.assert_array_equal(every.places[others], fewer.places)
    np.testing.assert_array_equal(every.mass[others], fewer.mass)


def test_wrong_use_says_so(tmp_path: Path, cli: Cli, jhmdb: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "results"
    refused = propagate(cli, jhmdb, cache, out, "--save-soft")
    assert (refused.code, "--save-soft is for masks" in refused.err) == (2, True)
    out.mkdir()
    missing = cli("evaluate", jhmdb, "--results", out)
    assert (missing.code, "there is no" in missing.err) == (1, True)
    propagate(cli, jhmdb, cache, out)
    other = cli("evaluate", jhmdb, "--results", out, "--limit", 2)
    assert (other.code, "give the same --every and --limit as" in other.err) == (1, True)
    clips = write_pickle(tmp_path / "clips.pkl", {"clip": tapvid_clip(3)})
    mixed = cli("evaluate", jhmdb, clips, "--results", out)
    assert (mixed.code, "one by one" in mixed.err) == (2, True)
    (out / "one" / "joints.npz").write_bytes(b"PK")
    damaged = cli("evaluate", jhmdb, "--results", out)
    assert (damaged.code, "files differ from the result's record" in damaged.err) == (1, True)


def test_a_video_without_a_visible_point_fails_alone(tmp_path: Path, cli: Cli) -> None:
    hidden = tapvid_clip(3)
    hidden["occluded"][:] = True
    path = write_pickle(tmp_path / "clips.pkl", {"one": tapvid_clip(3), "hidden": hidden})
    bring(cli, path, tmp_path / "cache", {"one": square_features(3), "hidden": square_features(3)})
    result = propagate(cli, path, tmp_path / "cache", tmp_path / "results")
    assert (result.code, "no visible point" in result.err) == (1, True)
    assert (tmp_path / "results" / "one" / "tracks.csv").is_file()


def test_both_kinds_of_sources_are_extracted(tmp_path: Path, cli: Cli, weights: tuple[str, ...]) -> None:
    feature = ("--feature", "adm:51:output_blocks[7]")
    options = ("--cache", tmp_path / "cache", *feature, "--frame-size", SIZE, weights[0])
    root = write_jhmdb(tmp_path / "jhmdb", {"one": 2})
    clips = write_pickle(tmp_path / "clips.pkl", [tapvid_clip(2, encoded=True)])
    extracted = cli("extract", root, clips, *options, "--json")
    assert extracted.code == 0, extracted.err
    assert [label.split()[0] for label in json.loads(extracted.out)["written"]] == ["jhmdb/one", "tapvid/clips_00000"]
    run = ("--cache", tmp_path / "cache", "--out", tmp_path / "results", *feature[:1], f"{feature[1]}=1")
    result = cli("propagate", root, clips, *run)
    assert result.code == 0, result.err
    assert len(JointResult.read(tmp_path / "results" / "one").points) == 2
    assert TrackResult.read(tmp_path / "results" / "clips_00000").places.shape == (2, 2, 2)


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((3, 2, 2))
    points[1, 1] = -1
    JointResult(frames=("a", "b", "c"), joints=("neck", "face"), points=points).write(tmp_path)
    np.testing.assert_array_equal(JointResult.read(tmp_path).points, points)
    assert (tmp_path / "joints.csv").read_text().splitlines()[4] == "b,face,,,"
    with pytest.raises(LabelError, match=r"there is no .*tracks\.npz"):
        TrackResult.read(tmp_path)
