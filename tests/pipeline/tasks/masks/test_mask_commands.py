"""Masks by the commands: what `propagate` takes, `evaluate` and `sweep` take, too; objects that join; own masks."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.metrics.jf import region_similarity

from ...conftest import Cli, Result
from ...kind_inputs import FEATURES, extract
from ...roots import boxes, write_frames, write_mose

SETTINGS = ("--alpha", 0.3, "--temperature", 0.1, "--top-k", 3, "--radius", 4, "--context", 2)


def propagate(cli: Cli, tmp_path: Path, *arguments: object, out: str = "results") -> Result:
    return cli("propagate", *arguments, "--cache", tmp_path / "cache", "--out", tmp_path / out, *FEATURES, *SETTINGS)


def sweep(cli: Cli, tmp_path: Path, source: Path, *more: object) -> Result:
    return cli(
        "sweep", source, "--cache", tmp_path / "cache", "--out", tmp_path / "sweep", *FEATURES, *SETTINGS, "--no-plots",
        *more,
    )  # fmt: skip


def write_davis(root: Path, video: str, masks: list[np.ndarray]) -> Path:
    names = [f"{index:05d}" for index in range(len(masks))]
    write_frames(root / "JPEGImages/480p" / video, names)
    (root / "Annotations/480p" / video).mkdir(parents=True)
    for name, ids in zip(names, masks, strict=True):
        Image.fromarray(ids).save(root / "Annotations/480p" / video / f"{name}.png")
    (root / "ImageSets/2017").mkdir(parents=True, exist_ok=True)
    with (root / "ImageSets/2017/val.txt").open("a") as file:
        file.write(f"{video}\n")
    return root


def test_davis_2016_is_scored_as_its_objects_with_numbers(cli: Cli, tmp_path: Path) -> None:
    """0/255 masks, one frame without the object: the numbers are those of the same masks of 0 and 1."""
    masks = [boxes(o1=5 + 2 * index) for index in range(5)]
    masks[3][:] = 0
    scores = []
    for name, value in (("binary", 255), ("numbered", 1)):
        folder = tmp_path / name
        root = write_davis(folder / "root", "clip", [mask * np.uint8(value) for mask in masks])
        extract(cli, root, folder / "cache", "--frame-size", "48x64")
        result = propagate(cli, folder, root)
        assert result.code == 0, result.err
        assert np.unique(read_mask(folder / "results/clip/00000.png")).tolist() == [0, 1]
        evaluated = cli("evaluate", root, "--results", folder / "results", "--json")
        assert evaluated.code == 0, evaluated.err
        swept = sweep(cli, folder, root)
        assert swept.code == 0, swept.err
        with (folder / "sweep/settings.csv").open() as file:
            (row,) = csv.DictReader(file)
        values = json.loads(evaluated.out)
        assert float(row["jf"]) == values["means"]["J&F-Mean"]
        scores.append(values)
    assert scores[0] == scores[1]
    frames = scores[0]["sequences"][0]["objects"][0]["j_frames"]
    found = [read_mask(tmp_path / f"binary/results/clip/0000{frame}.png") == 1 for frame in (1, 2, 3)]
    assert frames == [region_similarity(masks[frame] == 1, one) for frame, one in zip((1, 2, 3), found, strict=True)]
    # Results of another tool, 0 and 255, are scored all the same.
    other = tmp_path / "other/clip"
    other.mkdir(parents=True)
    for frame in range(5):
        Image.fromarray(masks[frame] * np.uint8(255)).save(other / f"{frame:05d}.png")
    perfect = cli("evaluate", tmp_path / "binary/root", "--results", tmp_path / "other", "--json")
    assert json.loads(perfect.out)["means"]["J-Mean"] == 1


def test_a_short_video_stops_no_other(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, count in (("short", 2), ("long", 4)):
        write_davis(root, name, [boxes(o1=5 + 2 * index) for index in range(count)])
    extract(cli, root, tmp_path / "cache", "--frame-size", "48x64")
    assert propagate(cli, tmp_path, root).code == 0
    evaluated = cli("evaluate", root, "--results", tmp_path / "results")
    assert evaluated.code == 1
    assert "Error: short is not scored, and counts in no mean: video 'short' has 2 annotated frames" in evaluated.err
    assert "long_1" in evaluated.out
    assert (tmp_path / "results/per-sequence_results-val.csv").read_text().splitlines()[1].startswith("long_1,")
    as_json = json.loads(cli("evaluate", root, "--results", tmp_path / "results", "--json").out)
    assert list(as_json["failures"]) == ["short"]
    swept = sweep(cli, tmp_path, root)
    assert (swept.code, "short" in swept.err) == (1, True)
    with (tmp_path / "sweep/settings.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["jf"]) == as_json["means"]["J&F-Mean"]
    alone = cli("evaluate", root, "--videos", "short", "--results", tmp_path / "results")
    assert (alone.code, "has 2 annotated frames" in alone.err) == (2, True)


def test_an_object_that_joins_a_video_of_mose_is_followed_and_scored(
    cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks = [boxes(o1=5 + index) if index < 2 else boxes(o1=5 + index, o2=35) for index in range(6)]
    root = write_mose(tmp_path / "mose", "clip", masks)
    extract(cli, root, tmp_path / "cache", "--frame-size", "48x64")
    result = propagate(cli, tmp_path, root)
    assert result.code == 0, result.err
    assert "clip: object 2 joins in frame 00002, and is followed from there" in caplog.text
    found = [read_mask(tmp_path / f"results/clip/{frame:05d}.png") for frame in range(6)]
    assert [2 in ids for ids in found[:3]] == [False, False, True]
    np.testing.assert_array_equal(found[2] == 2, masks[2] == 2)  # as it was annotated
    assert (found[2] == 1).any()
    record = json.loads((tmp_path / "results/clip/ted.json").read_text())
    assert list(record["given_masks"]) == ["0", "2"]
    values = json.loads(cli("evaluate", root, "--results", tmp_path / "results", "--json").out)
    first, second = values["sequences"][0]["objects"]
    assert (len(first["j_frames"]), first["frames"]) == (4, None)  # as DAVIS has it: not the first and not the last
    assert second["frames"] == ["00003", "00004"]
    assert second["j_frames"] == [region_similarity(masks[frame] == 2, found[frame] == 2) for frame in (3, 4)]
    swept = sweep(cli, tmp_path, root)
    assert swept.code == 0, swept.err
    with (tmp_path / "sweep/settings.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["jf"]) == values["means"]["J&F-Mean"]


def test_an_object_that_joins_a_video_of_davis_is_named(
    cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks = [boxes(o1=5 + index) if index < 2 else boxes(o1=5 + index, o2=35) for index in range(5)]
    root = write_davis(tmp_path / "davis", "clip", masks)
    extract(cli, root, tmp_path / "cache", "--frame-size", "48x64")
    result = propagate(cli, tmp_path, root)
    assert result.code == 0, result.err
    assert "object 2, first annotated in frame 00002, is neither followed nor scored" in caplog.text
    values = json.loads(cli("evaluate", root, "--results", tmp_path / "results", "--json").out)
    assert [each["object_id"] for each in values["sequences"][0]["objects"]] == [1]
    (video,) = open_sources([Source(path=root)])
    assert video.scored_frames() is None


def test_a_video_of_mose_whose_first_frame_shows_nothing(tmp_path: Path) -> None:
    root = write_mose(tmp_path / "mose", "clip", [boxes(), boxes(), boxes(o1=5), boxes(o1=6), boxes(o1=7)])
    (video,) = open_sources([Source(path=root)])
    assert list(video.read_annotated_masks()) == [2]
    assert video.scored_frames() == {1: ("00003",)}


@pytest.fixture
def own(cli: Cli, tmp_path: Path) -> Path:
    """A folder of frames with features in a cache, and true masks of all of them beside it."""
    write_frames(tmp_path / "clip", [str(frame) for frame in range(6)], ".png")
    (tmp_path / "masks").mkdir()
    for frame in range(6):
        ids = boxes(o1=5 + frame, o2=35) if frame >= 2 else boxes(o1=5 + frame)
        Image.fromarray(ids).save(tmp_path / "masks" / f"{frame}.png")
    extract(cli, tmp_path / "clip", tmp_path / "cache", "--frame-size", "48x64")
    return tmp_path / "clip"


def test_own_masks_are_the_truth_of_frames_that_were_not_given(cli: Cli, tmp_path: Path, own: Path) -> None:
    truth = ("--annotations", tmp_path / "masks")
    assert propagate(cli, tmp_path, own, "--mask", tmp_path / "masks/0.png").code == 0
    values = json.loads(cli("evaluate", own, *truth, "--results", tmp_path / "results", "--json").out)
    (one,) = values["sequences"][0]["objects"]
    true = [read_mask(tmp_path / f"masks/{frame}.png") == 1 for frame in range(6)]
    found = [read_mask(tmp_path / f"results/clip/{frame}.png") == 1 for frame in range(6)]
    assert one["j_frames"] == [region_similarity(*pair) for pair in list(zip(true, found, strict=True))[1:]]

    (tmp_path / "some").mkdir()
    for frame in (1, 3):
        (tmp_path / f"some/{frame}.png").write_bytes((tmp_path / f"masks/{frame}.png").read_bytes())
    assert propagate(cli, tmp_path, own, "--annotations", tmp_path / "some", out="two").code == 0
    values = json.loads(cli("evaluate", own, *truth, "--results", tmp_path / "two", "--json").out)
    first, second = values["sequences"][0]["objects"]
    assert (first["frames"], second["frames"]) == (None, ["4", "5"])
    assert len(first["j_frames"]) == 4

    everything = propagate(cli, tmp_path, own, *truth, out="all")
    assert (everything.code, "all frames are annotated, so nothing was tracked" in everything.err) == (0, True)
    none = cli("evaluate", own, *truth, "--results", tmp_path / "all")
    assert (none.code, "started from all 6 true masks" in none.err) == (2, True)
    swept = sweep(cli, tmp_path, own, *truth)
    assert (swept.code, "no true mask beside those that propagation starts from" in swept.err) == (2, True)
    assert cli("report", tmp_path / "results", "--source", own, *truth, "--out", tmp_path / "r.html").code in (0, 2)
