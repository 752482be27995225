"""Wrong or unlucky use that must neither lose anything nor end in a traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.cli.evaluate import _without_nan
from ted.pipeline.pictures.sheet import contact_sheet

from ..conftest import Cli


def test_overwrite_replaces_results_and_nothing_else(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    frames = Path(shutil.copytree(davis_source / "JPEGImages/480p/one", tmp_path / "one"))
    result = cli("propagate", davis_source, "--videos", "one", "--cache", extracted, "--out", tmp_path, "--overwrite")
    assert result.code == 2
    assert "it is not a result of `ted propagate`" in result.err
    assert len(list(frames.glob("*.jpg"))) == 4


def test_features_of_other_frames_of_the_same_names(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(davis_source, tmp_path / "root"))
    folder = root / "JPEGImages/480p/one"
    shutil.copy(folder / "00003.jpg", folder / "00002.jpg")
    result = cli("propagate", root, "--videos", "one", "--cache", extracted, "--out", tmp_path / "out")
    assert result.code == 1
    assert "changed since extraction" in result.err
    assert not (tmp_path / "out/one").exists()


def test_videos_without_a_name(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    result = cli("propagate", davis_source, "--videos", ",", "--cache", extracted, "--out", tmp_path / "out")
    assert (result.code, (tmp_path / "out").exists()) == (2, False)


def test_a_url_is_no_folder(
    cli: Cli, davis_source: Path, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("extract", davis_source, *weights, "--cache", "s3://bucket/cache")
    assert (result.code, "is a URL" in result.err) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "tap"), [("a:b", "t"), ("a@b", "t"), ("", "t"), ("a", "x,y"), ("a", " t")])
def test_imported_features_must_be_found_again(
    cli: Cli, davis_source: Path, tmp_path: Path, name: str, tap: str
) -> None:
    np.save(tmp_path / "one.npy", np.ones((4, 5, 8, 8), dtype=np.float32))
    command = ("import", davis_source, "--videos", "one", "--arrays", tmp_path, "--cache", tmp_path / "cache")
    assert cli(*command, f"--name={name}", f"--tap={tap}").code == 2
    assert not list(tmp_path.rglob("*.zarr"))


def test_removal_refused(cli: Cli, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda *_: "n")
    result = cli("cache", "rm", "--cache", cache, "--video", "one")
    assert result.code == 1
    assert "nothing removed" in result.err
    assert "4 units" in cli("cache", "ls", "--cache", cache).out


def test_names_that_ls_prints_choose_units(cli: Cli, cache: Path) -> None:
    feature = cli("cache", "ls", "--cache", cache).out.splitlines()[0].split()[-1]
    assert "1 unit" in cli("cache", "ls", "--cache", cache, "--feature", feature).out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(cache: Path) -> None:
    command = [sys.executable, "-c", "from ted.pipeline.cli import main; main()", "cache", "ls", "--cache", str(cache)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_has_no_nan() -> None:
    assert _without_nan({"a": (1.0, float("nan")), "b": "x"}) == {"a": [1.0, None], "b": "x"}


def test_titles_fit_small_sheets() -> None:
    picture = np.zeros((120, 214, 3), dtype=np.uint8)
    title = "camel: 0.4 i2vgen-xl:300:up_blocks[2] + 0.6 adm:51:output_blocks[7]"
    sheet = contact_sheet([("0", picture)] * 4, title=title)
    assert (sheet[:, -20:] == 255).all()
    assert (sheet[24:60, 24:-24] < 128).any()
