"""Confidence: cases worked out by hand, and the tables of results."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from ted.pipeline.metrics.confidence import certainty_of_places, certainty_of_regions, presence
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.points.results import TrackResult

from ..cli.test_own_places import COUNT, EXACT, bring
from ..conftest import Cli
from ..inputs import frames_folder
from ..point_inputs import SIZE, moving_square


def test_certainty_of_masks_by_hand() -> None:
    # Two cells, a background and two objects: the first cell is object 1's alone, the second is undecided.
    label = np.array([[[0, 1 / 3]], [[1, 1 / 3]], [[0, 1 / 3]]])
    # Object 1: (1 * 1 + 1/3 * 0) / (4/3); object 2 has nothing but the undecided cell.
    assert certainty_of_regions(label, exclusive=True) == pytest.approx([3 / 4, 0])
    # Half object, half background of three classes: H = log 2.
    halves = np.array([[[0.5]], [[0.5]], [[0.0]]])
    assert certainty_of_regions(halves, exclusive=True) == pytest.approx([1 - math.log(2) / math.log(3), 0])


def test_certainty_of_boxes_by_hand() -> None:
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    label = np.array([[[1, 0.25, 0]], [[0.5, 0, 0]], [[0, 0, 0]]])
    expected = [(1 + 0.25 * (1 - entropy)) / 1.25, 0, 0]
    assert certainty_of_regions(label, exclusive=False) == pytest.approx(expected)


def test_certainty_of_points_by_hand() -> None:
    label = np.array([[[0, 0.8], [0, 0]], [[0.1, 0.1], [0, 0]], [[0.2] * 2] * 2, [[0, 0], [0, 0]]])
    # One cell; two of four alike: H = log 2 of log 4; all four alike; none.
    assert certainty_of_places(label) == pytest.approx([1, 0.5, 0, 0])


def test_presence() -> None:
    found = presence(np.array([2.0, 8, 1, 0]), np.array([4.0, 4, 0, 4]))
    assert found.tolist() == [0.5, 1, 0, 0]


def test_tables_of_masks_and_boxes_and_points_have_it(cli: Cli, tmp_path: Path) -> None:
    clip = frames_folder(tmp_path / "clip", moving_square(COUNT)[0])
    bring(cli, clip, tmp_path, "clip")
    (tmp_path / "boxes.csv").write_text("1,1,8,8,32,32\n")
    (tmp_path / "points.csv").write_text("frame,id,x,y\n0,1,20,20\n")
    found = {}
    for name, table in (("boxes", "boxes.csv"), ("points", "tracks.csv")):
        out = tmp_path / name
        run = ("propagate", clip, "--annotations", tmp_path / f"{name}.csv", "--cache", tmp_path / "cache")
        made = cli(*run, "--out", out, *EXACT, *(("--overlay", "--overlay-format", "webp") if name == "boxes" else ()))
        assert made.code == 0, made.err
        with (out / "clip" / table).open() as file:
            rows = list(csv.reader(file))
        found[name] = [float(row[6 if name == "boxes" else -1]) for row in rows[0 if name == "boxes" else 1 :]]
        with np.load(out / "clip" / table.replace(".csv", ".npz")) as archive:
            np.testing.assert_allclose(archive["confidence"][0], found[name], atol=5e-5)
    with Image.open(tmp_path / "boxes/overlays/clip.webp") as movie:
        assert movie.n_frames == COUNT
    for values in found.values():
        assert values[0] == 1
        assert len(values) == COUNT
        assert all(0.5 < value <= 1 for value in values)


def test_a_table_beside_masks_has_it(cli: Cli, tmp_path: Path) -> None:
    """Two objects, the second from the third frame on: by the formula from the soft labels that are written, too."""
    clip = frames_folder(tmp_path / "clip", moving_square(COUNT)[0])
    bring(cli, clip, tmp_path, "clip")
    for frame in (0, 2):
        mask = np.zeros(SIZE, np.uint8)
        mask[4 * frame + 8 : 4 * frame + 40, 4 * frame + 8 : 4 * frame + 40] = 1
        mask[4 * frame + 16 : 4 * frame + 40, 4 * frame + 24 : 4 * frame + 40] = 7 if frame else 1
        write_mask(tmp_path / "given" / f"{frame}.png", mask)
    run = ("propagate", clip, "--annotations", tmp_path / "given", "--cache", tmp_path / "cache", "--temperature", 1)
    run = (*run, "--out", tmp_path / "out", "--save-soft", *EXACT[:2], "--top-k", 4, "--radius", 3)
    made = cli(*run)
    assert made.code == 0, made.err
    with (tmp_path / "out/clip/confidence.csv").open() as file:
        rows = {(row["frame"], row["object"]): float(row["confidence"]) for row in csv.DictReader(file)}
    assert len(rows) == 2 * COUNT
    soft = np.asarray(zarr.open_array(tmp_path / "out/clip/soft.zarr", mode="r")[:], np.float64)
    shares = soft / soft.sum(1, keepdims=True)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(1) / np.log(3)
    for frame in range(COUNT):
        for channel, number in ((1, 1), (2, 7)):
            label, start = soft[frame, channel], 2 if frame >= 2 or number == 7 else 0
            mass = label.sum()
            expected = mass and (label * (1 - entropy[frame])).sum() / mass * min(1, mass / soft[start, channel].sum())
            given = (frame, number) in ((0, 1), (2, 1), (2, 7))
            assert rows[str(frame), str(number)] == pytest.approx(1 if given else expected, abs=6e-5)
    assert len({round(value, 3) for value in rows.values()}) > 6
    assert "there before" in cli(*run).err
    # A result of an earlier version has no such table, and is complete without.
    record = json.loads((tmp_path / "out/clip/ted.json").read_text())
    del record["files"]["confidence.csv"]
    (tmp_path / "out/clip/ted.json").write_text(json.dumps(record))
    (tmp_path / "out/clip/confidence.csv").unlink()
    assert "there before" in cli(*run).err


def test_results_of_earlier_versions_are_read(tmp_path: Path) -> None:
    result = TrackResult(
        frames=("a",), mode="given", query_frames=np.array([0]), tracks=np.array([1]), places=np.zeros((1, 1, 2)),
        mass=np.ones((1, 1)), visible=np.ones((1, 1), bool),
    )  # fmt: skip
    result.write(tmp_path)
    assert "confidence" not in np.load(tmp_path / "tracks.npz").files
    assert TrackResult.read(tmp_path).confidence is None
    assert (tmp_path / "tracks.csv").read_text().splitlines()[1].endswith(",1.0000,")
