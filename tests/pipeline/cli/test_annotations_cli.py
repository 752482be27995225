"""Masks of any frames and the field's datasets through the commands, on random features."""

import json
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.metrics.parts import VIP_CLASSES
from ted.pipeline.tasks.masks.png import write_mask

from ..conftest import Cli, Result
from ..roots import boxes, write_frames, write_kubric, write_mose, write_vip, write_youtube_vos

COUNT = 7
NAMES = tuple(f"{index:05d}" for index in range(COUNT))
FEATURE = ("--feature", "mine:0:features=1", "--radius", 2, "--top-k", 4)


def features(cli: Cli, tmp_path: Path, source: Path, *videos: str, count: int = COUNT) -> Path:
    """Put smooth random features into a cache."""
    arrays = tmp_path / "arrays"
    arrays.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for video in videos:
        values = np.cumsum(rng.standard_normal((count, 8, 12, 6)), axis=0).astype(np.float32)
        np.save(arrays / f"{video}.npy", values)
    command = ("import", source, "--arrays", arrays, "--name", "mine", "--layout", "fyxc", "--frame-size", "64x96")
    assert cli(*command, "--cache", tmp_path / "cache").code == 0
    return tmp_path / "cache"


def propagate(cli: Cli, tmp_path: Path, *arguments: object) -> Result:
    return cli("propagate", *arguments, "--cache", tmp_path / "cache", "--out", tmp_path / "out", *FEATURE)


def test_youtube_vos(cli: Cli, tmp_path: Path) -> None:
    masks = {name: boxes(o1=5, o3=30) for name in NAMES}
    objects = {"1": NAMES[::2], "3": NAMES[2::2]}
    root = tmp_path / "train"
    for video in ("a", "b", "c"):
        write_youtube_vos(root, video, NAMES, masks, objects)
    features(cli, tmp_path, root, "a", "b", "c")
    (tmp_path / "similar.txt").write_text("b\n\na\n")
    chosen = (root, "--videos", tmp_path / "similar.txt")
    drawn = propagate(cli, tmp_path, *chosen, "--overlay")
    assert (drawn.code, f"a: {tmp_path}/out/overlays/a.png {tmp_path}/out/overlays/a.mp4" in drawn.err) == (0, True)
    results = tmp_path / "out/Annotations"
    assert sorted(path.name for path in results.iterdir()) == ["a", "b"]
    assert sorted(path.name for path in (results / "a").glob("*.png")) == [f"{name}.png" for name in NAMES[::2]]
    assert (tmp_path / "out/overlays/a.mp4").is_file()
    before, joining = (read_mask(results / f"a/{NAMES[at]}.png") for at in (0, 2))
    np.testing.assert_array_equal(before, boxes(o1=5))
    np.testing.assert_array_equal(joining == 3, boxes(o3=30) == 3)
    assert (results / "a/00000.png").read_bytes()[25] == 3  # a palette
    record = json.loads((results / "a/ted.json").read_text())
    assert list(record["given_masks"]) == ["0", "2"]

    scored = cli("evaluate", *chosen, "--results", tmp_path / "out", "--json")
    values = json.loads(scored.out)
    assert [item["name"] for item in values["sequences"]] == ["a", "b"]
    for item in values["sequences"]:
        assert [len(thing["j_frames"]) for thing in item["objects"]] == [3, 2]
        assert item["objects"][1]["frames"] == ["00004", "00006"]
    assert "b_3" in cli("evaluate", *chosen, "--results", tmp_path / "out").out
    assert cli("evaluate", root, "--results", tmp_path / "out").code == 1  # there is no result of c

    # By a sweep, and from affinities that it has kept: the same.
    swept = cli(
        "sweep", *chosen, "--cache", tmp_path / "cache", "--out", tmp_path / "sweep", "--alpha", 1, "--no-plots",
        "--video-feature", "mine:0:features", "--temperature", "0.1,0.2", "--radius", 2, "--top-k", 4, "--json",
    )  # fmt: skip
    assert swept.code == 0, swept.err
    rows = [json.loads(line) for line in (tmp_path / "sweep/results.jsonl").read_text().splitlines()]
    found = {(row["video"], row["object"]): row["j"] for row in rows if row["temperature"] == 0.2}
    things = [(item["name"], thing) for item in values["sequences"] for thing in item["objects"]]
    assert found == {(name, thing["object_id"]): thing["j"]["mean"] for name, thing in things}
    assert {row["frames"] for row in rows} == {2, 3}
    before = {path: path.read_bytes() for path in results.rglob("*.png")}
    assert propagate(cli, tmp_path, *chosen, "--overwrite").err.count("re-tuned from cached affinities") == 2
    assert {path: path.read_bytes() for path in results.rglob("*.png")} == before


def test_masks_of_any_frames_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", NAMES)
    write_mask(tmp_path / "masks/00002.png", boxes(o5=5))
    write_mask(tmp_path / "masks/00004.png", boxes(o2=30))
    features(cli, tmp_path, tmp_path / "clip", "clip")
    given = (tmp_path / "clip", "--annotations", tmp_path / "masks", "--context", 2)
    result = propagate(cli, tmp_path, *given, "--save-soft")
    assert result.code == 0, result.err
    masks = [read_mask(tmp_path / f"out/clip/{name}.png") for name in NAMES]
    assert [set(np.unique(ids).tolist()) - {0, 5} for ids in masks] == [set()] * 4 + [{2}] * 3
    assert all((ids == 5).any() for ids in masks)  # before frame 2, too
    np.testing.assert_array_equal(masks[2], boxes(o5=5))
    np.testing.assert_array_equal(masks[4] == 2, boxes(o2=30) == 2)


def test_wrong_masks_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", NAMES)
    features(cli, tmp_path, tmp_path / "clip", "clip")
    write_mask(tmp_path / "masks/00002.png", boxes(o5=5)[:-1])
    given = (tmp_path / "clip", "--annotations", tmp_path / "masks")
    for arguments, code, message in [
        (given, 1, "00002.png is 56x39"),
        ((*given, "--mask", tmp_path / "masks/00002.png"), 2, "leave one of them out"),
        ((tmp_path / "clip", "--annotations", tmp_path / "gone"), 1, "no folder of masks"),
        ((tmp_path / "clip", *given), 2, "one SOURCE"),
    ]:
        result = propagate(cli, tmp_path, *arguments)
        assert (result.code, message in result.err) == (code, True), result.err
        assert not (tmp_path / "out/clip").exists()


@pytest.mark.parametrize("kind", ["mose", "kubric"])
def test_datasets_that_are_scored_as_davis_is(cli: Cli, tmp_path: Path, kind: str) -> None:
    root, masks = tmp_path / kind, [boxes(o1=5 + index, o2=30 - index) for index in range(COUNT)]
    write = {
        "mose": lambda name: write_mose(root, name, masks),
        "kubric": lambda name: write_kubric(root / name, masks),
    }
    for name in ("a", "b"):
        write[kind](name)
    features(cli, tmp_path, root, "a", "b")
    assert propagate(cli, tmp_path, root).code == 0
    assert len(list((tmp_path / "out/b").glob("*.png"))) == COUNT
    values = json.loads(cli("evaluate", root, "--results", tmp_path / "out", "--json").out)
    assert [(item["name"], len(item["objects"]), len(item["frames"])) for item in values["sequences"]] == [
        ("a", 2, COUNT - 2),
        ("b", 2, COUNT - 2),
    ]
    assert 0 < values["means"]["J-Mean"] < 1
    assert (tmp_path / "out/per-sequence_results-val.csv").is_file()


def test_vip_is_scored_by_its_parts(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "VIP_Fine"
    for name in ("a", "b"):
        write_vip(root, name, [boxes(o2=5 + index, o13=30 - index) for index in range(COUNT)])
    features(cli, tmp_path, root, "a", "b")
    assert propagate(cli, tmp_path, root).code == 0
    values = json.loads(cli("evaluate", root, "--results", tmp_path / "out", "--json").out)
    known = [value for value in values["classes"].values() if value is not None]
    assert list(values["classes"]) == list(VIP_CLASSES)
    assert len(known) == 3
    assert values["mIoU"] == pytest.approx(sum(known) / 3)
    assert list(values["videos"]) == ["a", "b"]
    shown = cli("evaluate", root, "--results", tmp_path / "out").out
    assert f"mIoU {values['mIoU']:.3f}" in shown
    write_mose(tmp_path / "mose", "c", [boxes(o1=5)] * 3)
    mixed = cli("evaluate", root, tmp_path / "mose", "--results", tmp_path / "out")
    assert (mixed.code, "one by one" in mixed.err) == (2, True)


def test_truth_that_is_not_public(cli: Cli, tmp_path: Path) -> None:
    root = write_youtube_vos(tmp_path / "valid", "a", NAMES, {NAMES[0]: boxes(o1=5)}, {"1": NAMES})
    features(cli, tmp_path, root, "a")
    assert propagate(cli, tmp_path, root).code == 0
    result = cli("evaluate", root, "--results", tmp_path / "out")
    assert (result.code, "not public" in result.err) == (1, True)
