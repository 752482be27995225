"""Bad input through the commands: a short clear error, the right exit code, nothing half-written that looks whole."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ted.store import open_cache, verify_unit

from ..conftest import Cli
from ..inputs import extract, frames_folder, mask_file, no_unit_looks_whole, propagate, random_video


@pytest.mark.parametrize(
    ("kind", "message"), [("nothing", "does not exist"), ("empty", "has no images"), ("other", "has no images")]
)
def test_wrong_sources(cli: Cli, weights: tuple[str, ...], tmp_path: Path, kind: str, message: str) -> None:
    source = tmp_path / "source"
    if kind != "nothing":
        source.mkdir()
    if kind == "other":
        (source / "notes.txt").write_text("x")
    result = extract(cli, weights, tmp_path / "cache", source)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "cache").exists()


def test_a_set_list_that_points_outside(cli: Cli, weights: tuple[str, ...], davis_source: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(davis_source, tmp_path / "root"))
    (root / "ImageSets/2017/val.txt").write_text("one\n../../one\n")
    result = extract(cli, weights, tmp_path / "cache", root)
    assert result.code == 2
    assert "line 2" in result.err


def test_unknown_videos_and_sets_name_the_nearest(cli: Cli, davis_source: Path, extracted: Path) -> None:
    wrong = cli("propagate", davis_source, "--cache", extracted, "--videos", "ones")
    assert (wrong.code, "nearest: one" in wrong.err) == (2, True)
    assert cli("propagate", davis_source, "--cache", extracted, "--set", "train").code == 2


def test_two_videos_of_the_same_name(cli: Cli, weights: tuple[str, ...], tmp_path: Path) -> None:
    sources = [frames_folder(tmp_path / part / "clip", random_video(1)) for part in "ab"]
    result = extract(cli, weights, tmp_path / "cache", *sources)
    assert result.code == 2
    assert all(str(source) in result.err for source in sources)


def test_a_truncated_image_fails_its_video_and_no_other(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(davis_source, tmp_path / "root"))
    frame = root / "JPEGImages/480p/one/00002.jpg"
    frame.write_bytes(frame.read_bytes()[:-300])
    result = extract(cli, weights, tmp_path / "cache", root)
    assert result.code == 1
    assert "00002.jpg" in result.err
    assert "2 units written" in result.out
    entries = open_cache(tmp_path / "cache").entries()
    assert {entry.spec.request.video for entry in entries if entry.state == "complete"} == {"two"}
    frame.write_bytes((davis_source / "JPEGImages/480p/one/00002.jpg").read_bytes())
    assert "2 units written, 2 complete already" in extract(cli, weights, tmp_path / "cache", root).out


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_an_unreadable_video_file(cli: Cli, weights: tuple[str, ...], tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(content)
    result = extract(cli, weights, tmp_path / "cache", source)
    assert result.code == 1
    assert "clip.mp4" in result.err
    assert no_unit_looks_whole(tmp_path / "cache")


def test_frames_of_different_sizes(cli: Cli, weights: tuple[str, ...], tmp_path: Path) -> None:
    source = frames_folder(tmp_path / "clip", random_video(2))
    cv2.imwrite(str(source / "2.png"), random_video(1, (64, 64))[0])
    result = extract(cli, weights, tmp_path / "cache", source)
    assert result.code == 1
    assert "2.png" in result.err
    assert no_unit_looks_whole(tmp_path / "cache")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: mask_file(path, (64, 64)), "64"),
        (lambda path: mask_file(path, value=0), "no object"),
        (lambda path: path.write_bytes(b"x"), "mask.png"),
        (lambda path: Image.fromarray(np.arange(6300, dtype=np.uint16).reshape(70, 90)).save(path), "255"),
        (lambda path: Image.fromarray(random_video(1)[0]).save(path), "palette"),
        (lambda path: None, "no mask"),
    ],
    ids=["other size", "no object", "unreadable", "too many objects", "colours", "absent"],
)
def test_masks_that_cannot_be_used(
    cli: Cli, weights: tuple[str, ...], tmp_path: Path, make: object, message: str
) -> None:
    source = frames_folder(tmp_path / "clip", random_video(2))
    choice = ("--feature", "adm:51:output_blocks[7]")
    assert extract(cli, weights[:1], tmp_path / "cache", source, *choice).code == 0
    assert callable(make)
    make(tmp_path / "mask.png")
    arguments = (source, "--mask", tmp_path / "mask.png", "--preset", "dift-adm")
    result = propagate(cli, tmp_path / "cache", tmp_path / "out", *arguments)
    assert result.code == 1
    assert message in result.err
    assert not (tmp_path / "out" / "clip").exists()


def test_a_folder_without_mask(cli: Cli, weights: tuple[str, ...], tmp_path: Path) -> None:
    source = frames_folder(tmp_path / "clip", random_video(2))
    assert extract(cli, weights, tmp_path / "cache", source).code == 0
    result = propagate(cli, tmp_path / "cache", tmp_path / "out", source)
    assert result.code == 1
    assert "no mask to start from" in result.err


def test_other_frames_than_were_extracted(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    result = propagate(cli, extracted, tmp_path / "out", davis_source, "--limit", 2)
    assert result.code == 1
    assert "of other frames" in result.err
    assert "--every and --limit" in result.err
    assert not (tmp_path / "out" / "one").exists()


def test_changed_frames_are_noticed(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(davis_source, tmp_path / "root"))
    frame = root / "JPEGImages/480p/one/00002.jpg"
    shutil.copy(root / "JPEGImages/480p/one/00003.jpg", frame)
    before = propagate(cli, cache, tmp_path / "out", root, "--videos", "one")
    assert before.code == 1
    assert "the frames have changed" in before.err
    assert "2 units written, 2 complete already" in extract(cli, weights, cache, root).out
    # Both are in the cache now; each source means those of its own frames.
    records = []
    for name, source in (("new", root), ("old", davis_source)):
        assert propagate(cli, cache, tmp_path / name, source, "--videos", "one").code == 0
        records.append(json.loads((tmp_path / name / "one" / "ted.json").read_text())["features"][0]["unit"])
    assert records[0] != records[1]


def test_several_settings_of_one_feature(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    assert extract(cli, weights, cache, davis_source, "--ensemble", 4).code == 0
    assert extract(cli, weights, cache, davis_source, "--seed", 7).code == 0

    def made_with(out: str, *options: object) -> object:
        result = propagate(cli, cache, tmp_path / out, davis_source, "--videos", "one", "--alpha", 0, *options)
        if result.code:
            assert "--prefer" in result.err
            return result.code
        unit = json.loads((tmp_path / out / "one" / "ted.json").read_text())["features"][0]["unit"]
        digest = unit.split("@")[1][:8]
        (entry,) = (entry for entry in open_cache(cache).entries() if entry.spec.request.digest()[:8] == digest)
        return entry.spec.request.ensemble, entry.spec.request.seed

    assert made_with("a", "--preset", "davis-best") == (4, 0)
    assert made_with("b") == 1  # two seeds with the preset's single draw
    assert made_with("c", "--prefer", "seed=7") == (1, 7)
    assert made_with("d", "--prefer", "ensemble=4") == (4, 0)
    assert cli("propagate", davis_source, "--cache", cache, "--prefer", "sead=7").code == 2


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("adm:51:up_blocks[9]", "output_blocks[7]"),
        ("adm:1000:mid_block", "0 to 999"),
        ("adm:x:mid_block", "whole number"),
        ("adm:51", "BACKBONE:TIMESTEP:TAP"),
        ("adn:51:mid_block", "adm"),
    ],
)
def test_wrong_features(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, tmp_path: Path, feature: str, message: str
) -> None:
    path = weights[0].partition("adm=")[2]
    result = extract(cli, (f"--weights={path}",), tmp_path / "cache", davis_source, "--feature", feature)
    assert result.code == 2
    assert message in result.err
    assert no_unit_looks_whole(tmp_path / "cache")


def test_absent_weights_name_the_download(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    for name, words in {
        "adm": ("256x256_diffusion_uncond.pt", "MIT"),
        "i2vgen-xl": ("ali-vilab/i2vgen-xl", "GB", "MIT"),
        "svd": ("stabilityai/stable-video-diffusion-img2vid", "GB"),
        "sd21": ("stable-diffusion-2-1", "GB"),
    }.items():
        result = extract(cli, (), tmp_path / "cache", davis_source, "--feature", f"{name}:51:mid_block")
        assert result.code == 1
        assert all(word in result.err for word in words)


def test_a_weights_folder_that_lacks_a_part(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(weights[1].partition("i2vgen-xl=")[2], tmp_path / "weights"))
    (folder / "ted.json").write_text('{"vae": {"area_average": 8}, "image": "zeros"}')
    choice = ("--feature", "i2vgen-xl:300:up_blocks[2]")
    result = extract(cli, (f"--weights={folder}",), tmp_path / "cache", davis_source, *choice)
    assert result.code == 1
    assert "text_encoder" in result.err


def test_weights_that_give_nan(cli: Cli, weights: tuple[str, ...], davis_source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(weights[0].partition("adm=")[2], tmp_path / "weights"))
    state = torch.load(folder / "model.pt", weights_only=True)
    state["input_blocks.0.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, folder / "model.pt")
    choice = ("--feature", "adm:51:output_blocks[7]")
    result = extract(cli, (f"--weights={folder}",), tmp_path / "cache", davis_source, *choice)
    assert result.code == 1
    assert "NaN" in result.err
    assert no_unit_looks_whole(tmp_path / "cache")


@pytest.mark.parametrize("array", [np.full((4, 5, 8, 8), np.nan), np.ones((4, 5, 8)), np.ones((3, 5, 8, 8)), "object"])
def test_imported_features_that_cannot_be_used(cli: Cli, davis_source: Path, tmp_path: Path, array: object) -> None:
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    values = np.array([{"a": 1}], dtype=object) if isinstance(array, str) else array
    np.save(arrays / "one.npy", values, allow_pickle=True)  # type: ignore[arg-type]
    command = ("import", davis_source, "--videos", "one", "--arrays", arrays, "--name", "mine")
    result = cli(*command, "--cache", tmp_path / "cache", "--frame-size", 64)
    assert result.code == 1
    assert no_unit_looks_whole(tmp_path / "cache")


def test_a_read_only_file_system(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, extracted: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = extract(cli, weights, small_disk / "cache", davis_source)
    assert result.code == 1
    assert "read-only" in result.err
    result = propagate(cli, extracted, small_disk / "out", davis_source)
    assert result.code == 1
    assert "read-only" in result.err


def test_a_full_disk_under_the_cache(
    cli: Cli, weights: tuple[str, ...], davis_source: Path, extracted: Path, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    result = extract(cli, weights, small_disk / "cache", davis_source)
    assert result.code == 1
    assert "disk is full: free some space" in result.err
    states = {entry.folder: entry.state for entry in open_cache(small_disk / "cache").entries()}
    assert all(verify_unit(folder).state == "ok" for folder, state in states.items() if state == "complete")
    assert "incomplete" in states.values() or len(states) < 4
    ballast.unlink()
    assert extract(cli, weights, small_disk / "cache", davis_source).code == 0
    for entry in open_cache(extracted).entries():
        twin = small_disk / "cache" / entry.folder.relative_to(extracted)
        assert (twin / "features/ted/complete.json").read_bytes() == (
            entry.folder / "features/ted/complete.json"
        ).read_bytes()


def test_a_full_disk_under_the_results(cli: Cli, davis_source: Path, extracted: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(395_000))
    result = propagate(cli, extracted, small_disk / "out", davis_source)
    assert result.code == 1
    assert "disk is full" in result.err
    assert not [path for path in small_disk.rglob("*.png") if not path.relative_to(small_disk).parts[1].startswith(".")]


def test_results_that_lack_frames_are_not_scored(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    assert propagate(cli, extracted, tmp_path / "out", davis_source).code == 0
    (tmp_path / "out" / "two" / "00002.png").unlink()
    result = cli("evaluate", davis_source, "--results", tmp_path / "out")
    assert result.code == 1
    assert "00002.png" in result.err
    assert not list((tmp_path / "out").glob("*.csv"))
    assert cli("evaluate", davis_source, "--results", tmp_path / "nowhere").code == 2


def test_wrong_devices_and_values(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    for options, message in {
        ("--device", "cuda:77"): "cuda",
        ("--device", "abacus"): "auto, cpu, cuda",
        ("--alpha", "1.5"): "alpha",
        ("--temperature", "0"): "temperature",
        ("--top-k", "0"): "top",
        ("--radius", "-1"): "radius",
    }.items():
        result = cli("propagate", davis_source, "--cache", extracted, "--out", tmp_path / "out", *options)
        assert (result.code, message in result.err) == (2, True), result
    assert not (tmp_path / "out").exists()
