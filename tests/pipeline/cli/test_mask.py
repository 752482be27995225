"""``ted mask``: first masks of a user's own video."""

import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.metrics.jf import region_similarity
from ted.pipeline.tasks.masks.png import write_mask
from tests.console import next_commands

from ..conftest import Cli

SIZE = (96, 128)
COUNT = 4


def square(index: int, x: int = 30, y: int = 30, side: int = 28) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x + 4 * index : x + 4 * index + side] = True
    return mask


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return a folder of frames: two squares of noisy colours, which move, before a noisy background."""
    folder = tmp_path / "walk"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(-12, 13, (COUNT, *SIZE, 3))
    for index in range(COUNT):
        frame = np.full((*SIZE, 3), (90, 110, 90))
        frame[square(index)] = (60, 60, 200)
        frame[square(index, 80, 60, 24)] = (200, 80, 40)
        cv2.imwrite(str(folder / f"{index:05d}.png"), (frame + noise[index]).clip(0, 255).astype(np.uint8))
    return folder


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in sorted(folder.glob("*.png"))}


def test_boxes_then_tracks_then_a_score(cli: Cli, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that are printed work as they are, up to a score against masks of one's own."""
    monkeypatch.delenv("TED_PROPAGATE_AFFINITIES")  # as users have it
    monkeypatch.chdir(tmp_path)
    made = cli("mask", "walk", "--box", "24,24,40,40", "--box=72,54,40,36")
    assert made.code == 0, made.err
    ids = masks_of(tmp_path / "masks/walk")["00000"]
    assert region_similarity(square(0), ids == 1) > 0.95
    assert region_similarity(square(0, 80, 60, 24), ids == 2) > 0.95
    assert "2 objects in 1 frame: masks/walk" in made.out
    assert (tmp_path / "masks/overlays/walk.png").is_file()
    commands = [line.split() for line in next_commands(made.out)]
    assert [words[1] for words in commands] == ["extract", "propagate"]
    for words in commands:
        done = cli(*words[1:])
        assert done.code == 0, done.err
        if words[1] == "extract":
            assert next_commands(done.out) == ["ted propagate walk --annotations masks/walk --preset colours"]
    assert "hf download facebook/dinov2-base" in done.out
    assert "ted propagate walk --annotations masks/walk --preset dinov2" in done.out
    for index in range(COUNT):
        write_mask(tmp_path / f"true/{index:05d}.png", square(index) + 2 * square(index, 80, 60, 24))
    scored = cli("evaluate", "walk", "--truth", "true", "--json")
    assert scored.code == 0, scored.err
    retuned = cli("propagate", "walk", "--annotations=masks/walk", "--preset=colours", "--temperature=0.1", "--out=c")
    assert "re-tuned from cached affinities" in retuned.err
    assert "hf download" not in retuned.out  # said before
    printed = cli("evaluate", "walk", "--truth", "true").out
    assert printed.count("tables: ") == 1
    (page,) = next_commands(printed)
    shown = cli(*shlex.split(page)[1:])
    assert "open it: " + (tmp_path / "results.html").as_uri() in shown.out, shown.err
    (page,) = next_commands(cli("evaluate", "walk", "--truth", "true").out)
    assert cli(*shlex.split(page)[1:]).code == 0  # replaces the page
    (sequence,) = json.loads(scored.out)["sequences"]
    assert sequence["frames"] == ["00001", "00002", "00003"]  # the last one, too
    assert all(item["j"]["mean"] > 0.8 for item in sequence["objects"])
    assert cli("evaluate", "walk", "--annotations", "true", "--json").out == scored.out  # the spelling of old

    swept = cli("sweep", "walk", "--truth", "true", "--preset", "colours", "--temperature", "0.1", "--no-plots")
    assert swept.code == 0, swept.err
    rows = [json.loads(line) for line in (tmp_path / "sweep/results.jsonl").read_text().splitlines()]
    assert [row["frames"] for row in rows] == [3, 3]
    best, _ = next_commands(swept.out)
    assert best.startswith("ted propagate walk --mask true/00000.png ")
    again = cli(*shlex.split(best)[1:])  # beside the results that are there
    assert again.code == 0, again.err
    best_masks = ("--results", "sweep-best", "--json")
    (sequence,) = json.loads(cli("evaluate", "walk", "--truth", "true", *best_masks).out)["sequences"]
    assert [row["j"] for row in rows] == [item["j"]["mean"] for item in sequence["objects"]]

    (tmp_path / "first").mkdir()
    (tmp_path / "true/00000.png").rename(tmp_path / "first/00000.png")
    for path in (tmp_path / "true").glob("*.png"):
        path.rename(path.with_stem(f"x{path.stem}"))
    for truth, message in (
        ("first", "give the truth of more frames"),
        ("true", "holds masks of frames that walk does not"),
    ):
        refused = cli("evaluate", "walk", "--truth", truth)
        assert (refused.code, message in refused.err, refused.out) == (refused.code, True, ""), refused.err
        assert refused.code in (1, 2)
    refused = cli("sweep", "walk", "--truth", "first", "--preset", "colours", "--out", "none")
    assert (refused.code, "give masks of other frames with --truth" in refused.err) == (2, True)
    assert not (tmp_path / "none").exists()


def test_frames_and_objects_are_added(cli: Cli, clip: Path, tmp_path: Path) -> None:
    common = ("mask", clip, "--out", tmp_path / "masks", "--fill", "--json")
    assert cli(*common, "--box", "30,30,28,28").code == 0
    assert cli(*common, "--box", "80,60,24,24", "--object", 2).code == 0
    done = cli(*common, "--box", "38,30,28,28", "--frame", "00002")
    assert json.loads(done.out)["frames"] == ["00000", "00002"]
    masks = masks_of(tmp_path / "masks/walk")
    np.testing.assert_array_equal(masks["00000"], square(0) + 2 * square(0, 80, 60, 24))
    np.testing.assert_array_equal(masks["00002"], square(2))
    assert cli(*common, "--box", "-9,-9,20,30.4", "--overwrite").code == 0
    (ids,) = masks_of(tmp_path / "masks/walk").values()
    expected = np.zeros(SIZE, np.uint8)
    expected[:21, :11] = 1
    np.testing.assert_array_equal(ids, expected)


def test_the_smaller_box_is_in_front(cli: Cli, clip: Path, tmp_path: Path) -> None:
    """The order of boxes in a command does not matter; a later command draws over the objects before it."""
    common = ("mask", clip, "--out", tmp_path / "masks", "--fill")
    small, large = "30,30,28,28", "20,20,60,60"
    expected = np.where(square(0), 1, 2 * square(0, 20, 20, 60))
    done = cli(*common, "--box", small, "--box", large)
    np.testing.assert_array_equal(masks_of(tmp_path / "masks/walk")["00000"], expected)
    assert "object 1 fills 100 % of its box\nobject 2 fills 100 % of its box\n" in done.out
    again = cli(*common, "--box", large, "--object", 2)
    assert "object 1: others cover 100 % of it" in again.out
    assert set(np.unique(masks_of(tmp_path / "masks/walk")["00000"])) == {0, 2}
    assert cli(*common, "--box", small).code == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "masks/walk")["00000"], expected)


def test_pixels_that_are_not_the_object(cli: Cli, clip: Path, tmp_path: Path) -> None:
    """A box around both squares has both, unless one of them is said to be something else."""
    common = ("mask", clip, "--out", tmp_path / "masks", "--box", "22,22,94,70", "--overwrite")
    assert cli(*common).code == 0
    both = square(0) | square(0, 80, 60, 24)
    assert region_similarity(both, masks_of(tmp_path / "masks/walk")["00000"] == 1) > 0.9
    assert cli(*common, "--not", "92,72", "--not", "85,65", "--not", "100,80", "--not", "5,5").code == 0
    assert region_similarity(square(0), masks_of(tmp_path / "masks/walk")["00000"] == 1) > 0.9


def test_masks_of_another_tool(cli: Cli, clip: Path, tmp_path: Path) -> None:
    shapes = [
        {"label": "red", "shape_type": "rectangle", "points": [[30, 30], [58, 58]]},
        {"label": "blue", "shape_type": "rectangle", "points": [[80, 60], [104, 84]]},
    ]
    values = {"imagePath": "00000.png", "imageHeight": 96, "imageWidth": 128, "shapes": shapes}
    (tmp_path / "walk.json").write_text(json.dumps(values))
    refused = cli("propagate", clip, "--annotations", tmp_path / "walk.json")
    assert (refused.code, f"ted mask VIDEO --from {tmp_path / 'walk.json'}" in refused.err) == (1, True)
    common = ("mask", clip, "--from", tmp_path / "walk.json", "--out", tmp_path / "masks", "--json")
    done = cli(*common)
    assert json.loads(done.out)["objects"] == {"1": "red", "2": "blue"}, done.err
    (ids,) = masks_of(tmp_path / "masks/walk").values()
    np.testing.assert_array_equal(ids, square(0) + 2 * square(0, 80, 60, 24))
    again = cli(*common)
    assert (again.code, "add --overwrite" in again.err) == (2, True)
    done = cli(*common, "--frame", 3, "--overwrite")
    assert list(masks_of(tmp_path / "masks/walk")) == ["00003"]


def test_wrong_use(cli: Cli, clip: Path, tmp_path: Path, davis_source: Path) -> None:
    for arguments, code, message in [
        ((clip, "--box", "1,2,3"), 2, "not X,Y,W,H"),
        ((clip, "--box", "1,2,nan,3"), 2, "positive width"),
        ((clip, "--box", "1,2,0,3"), 2, "positive width"),
        ((clip, "--box", "1,2,1e300,3"), 2, "positive width"),
        ((clip, "--box", "1,2,5,6", "--not", "3,x"), 2, "is not X,Y"),
        ((clip, "--box", "500,2,10,10"), 2, "has no pixel of the frame, which is 128x96"),
        ((clip, "--box", "1,1,9,9", "--frame", "77"), 2, "there is no frame '77'"),
        ((clip, "--box", "1,1,9,9", "--from", tmp_path), 2, "leave one of them out"),
        ((clip, "--box", "1,1,9,9", "--sam", tmp_path), 1, "holds no model of the SAM family"),
        ((clip, "--from", tmp_path / "absent.json"), 1, "does not exist"),
        ((davis_source, "--box", "1,1,9,9"), 2, "is a dataset, which has its own annotations"),
        ((tmp_path / "wlak", "--box", "1,1,9,9"), 2, "Did you mean"),
        ((clip, "--box", "1,1,9,9", "--overwrite", "--out", tmp_path), 2, "among the frames"),
        ((clip,), 2, "no display for a window: give boxes with --box"),
    ]:
        result = cli("mask", "--out", tmp_path / "masks", *arguments)
        assert (result.code, message in result.err) == (code, True), result.err
    assert not (tmp_path / "masks").exists()
    assert len(list(clip.iterdir())) == COUNT
