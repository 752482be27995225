"""Odd input through the commands that works: few frames, unusual images, names that would lead elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..conftest import Cli
from ..inputs import extract, frames_folder, mask_file, propagate, random_video


@pytest.mark.parametrize("count", [1, 2, 3])
def test_videos_of_few_frames(cli: Cli, weights: tuple[str, ...], tmp_path: Path, count: int) -> None:
    source = frames_folder(tmp_path / "clip", random_video(count))
    mask = mask_file(tmp_path / "mask.png")
    assert extract(cli, weights, tmp_path / "cache", source).code == 0
    done = propagate(cli, tmp_path / "cache", tmp_path / "out", source, "--mask", mask, "--overlay")
    assert done.code == 0
    assert len(list((tmp_path / "out" / "clip").glob("*.png"))) == count


@pytest.mark.parametrize(
    ("size", "channels", "dtype"),
    [((97, 61), 3, np.uint8), ((61, 97), 1, np.uint8), ((33, 200), 3, np.uint16), ((70, 90), 4, np.uint8)],
    ids=["portrait", "grayscale", "16-bit", "alpha"],
)
def test_unusual_images(
    cli: Cli, weights: tuple[str, ...], tmp_path: Path, size: tuple[int, int], channels: int, dtype: type
) -> None:
    video = random_video(2, size, channels).astype(dtype) * (257 if dtype is np.uint16 else 1)
    source = frames_folder(tmp_path / "clip", video.astype(dtype))
    assert extract(cli, weights, tmp_path / "cache", source).code == 0
    mask = mask_file(tmp_path / "mask.png", size)
    assert propagate(cli, tmp_path / "cache", tmp_path / "out", source, "--mask", mask).code == 0
    with Image.open(tmp_path / "out" / "clip" / "1.png") as result:
        assert result.size == (size[1], size[0])


@pytest.mark.parametrize("name", ["my video.v2", "-x", ".hidden", "100%", "a*b?[c]", "é"])
def test_odd_names_stay_inside_cache_and_results(cli: Cli, weights: tuple[str, ...], tmp_path: Path, name: str) -> None:
    work = tmp_path / "work"
    source = frames_folder(work / "in" / name, random_video(2))
    mask = mask_file(work / "mask.png")
    before = {path for path in tmp_path.rglob("*") if work not in path.parents}
    assert extract(cli, weights[:1], work / "cache", source, "--feature", "adm:51:output_blocks[7]").code == 0
    assert propagate(cli, work / "cache", work / "out", source, "--mask", mask, "--preset", "dift-adm").code == 0
    assert {path for path in tmp_path.rglob("*") if work not in path.parents} == before
    assert json.loads(cli("cache", "ls", "--cache", work / "cache", "--json").out)[0]["video"] == name
    assert len(list((work / "out").glob("*/1.png"))) == 1


def test_a_hostile_dataset_name_stays_inside_the_cache(cli: Cli, weights: tuple[str, ...], tmp_path: Path) -> None:
    source = frames_folder(tmp_path / "clip", random_video(1))
    choice = ("--feature", "adm:51:output_blocks[7]", "--dataset", "../../escape")
    assert extract(cli, weights[:1], tmp_path / "a" / "b" / "cache", source, *choice).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "clip"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
