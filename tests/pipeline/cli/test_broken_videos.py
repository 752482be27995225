"""Videos that cannot be read, among others that can, through the commands: named, and no reason to stop."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ...extract.clips import write_clip
from ...extract.pictures import picture
from ..conftest import Cli
from ..roots import boxes, write_mose, write_youtube_vos

FEATURE = "rgb:0:stride8"
SIZE = ("--frame-size", "48x64")


def test_a_dataset_with_an_empty_video(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "valid"
    for name in ("b", "c"):
        write_mose(root, name, [boxes(o1=5 + 3 * i, o2=20) for i in range(4)])
    (root / "JPEGImages/a").mkdir()
    (root / "JPEGImages/@eaDir").mkdir()
    choice = (root, "--cache", tmp_path / "cache")
    reason = "video 'a' has no frames: no images in"
    extracted = cli("extract", *choice, "--feature", FEATURE, *SIZE)
    assert extracted.code == 1
    assert f"failed: a rgb: {reason}" in extracted.err
    assert "2 units written" in extracted.out
    results = tmp_path / "results"
    propagated = cli("propagate", *choice, "--feature", f"{FEATURE}=1", "--out", results, "--json")
    assert propagated.code == 1
    rows = json.loads(propagated.out)["videos"]
    assert [(row["video"], "error" in row) for row in rows] == [("a", True), ("b", False), ("c", False)]
    assert reason in rows[0]["error"]
    scored = cli("evaluate", root, "--results", results, "--json")
    assert scored.code == 1
    assert json.loads(scored.out)["failures"].keys() == {"a"}
    swept = cli("sweep", *choice, "--image-feature", FEATURE, "--video-feature", FEATURE, "--alpha", "0",
        "--context", "1", "--out", tmp_path / "sweep")  # fmt: skip
    assert swept.code == 1
    assert reason in swept.out + swept.err
    assert "INCOMPLETE: 1 of 3 videos" in swept.out


def test_video_files_with_names_and_content_of_all_kinds(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "plain.mov", [picture(40, 56, seed=i) for i in range(3)])
    names = ["12:30.mov", "caf\udce9.mov", "no video.mp4", "list.mp4", "plain.mov", "cut.mov"]
    for name in names[:2]:
        shutil.copy(clip, name)
    Path("no video.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    Path("list.mp4").write_text(f"ffconcat version 1.0\nfile {clip}\n")
    Path("cut.mov").write_bytes(clip.read_bytes()[:-500])
    result = cli("extract", *names, "--cache", "cache", "--feature", FEATURE, *SIZE, "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert len(summary["written"]) == 3
    assert {item["video"]: item["reason"][:20] for item in summary["failed"]} == {
        "no video": "cannot open video no",
        "list": "cannot open video li",
        "cut": "video cut.mov is tru",
    }


def test_only_the_objects_of_the_first_frame(cli: Cli, tmp_path: Path) -> None:
    names = [f"{index:05d}" for index in range(4)]
    masks = {name: boxes(o1=5, o2=30) for name in names}
    root = write_youtube_vos(tmp_path / "train", "0a49f5265b", names, masks, {"1": names, "2": names[2:]})
    choice = (root, "--cache", tmp_path / "cache")
    assert cli("extract", *choice, "--feature", FEATURE, *SIZE).code == 0
    for options, objects in (((), {1, 2}), (("--first-frame-only",), {1})):
        out = tmp_path / f"results {len(objects)}"
        propagated = cli("propagate", *choice, "--feature", f"{FEATURE}=1", "--out", out, *options)
        assert propagated.code == 0, propagated.err
        record = json.loads((out / "Annotations/0a49f5265b/ted.json").read_text())
        assert ("first_mask" in record) == bool(options)
        scored = json.loads(cli("evaluate", root, "--results", out, "--json", *options).out)
        assert {item["object_id"] for item in scored["sequences"][0]["objects"]} == objects
