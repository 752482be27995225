"""``ted show``: pictures from a cache and from results."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.pictures import arrow_pictures, similarity_pictures
from ted.pipeline.pictures.columns import enlarge_cells
from ted.pipeline.pictures.figure import write_figure
from ted.pipeline.pictures.overlay import overlay_mask
from ted.pipeline.pictures.pca import pca_basis, pca_colours, pca_limits
from ted.pipeline.pictures.result import parse_results
from ted.pipeline.tasks.masks.frames import true_masks
from ted.store import FeatureChoice, open_cache
from ted.store.errors import ConfigError

from ..conftest import Cli
from ..inputs import SMALL, frames_folder, mask_file, random_video
from ..sheets import holds, read

IMAGE = FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]")


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw small pictures, because encoding large ones takes most of the time."""
    for module in (arrow_pictures, similarity_pictures):
        monkeypatch.setattr(module, "_LEAST_SIDE", 160)


def pictures(out: str) -> dict[str, list[Path]]:
    return {row["video"]: [Path(path) for path in row["pictures"]] for row in json.loads(out)["videos"]}


def frame_count(path: Path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))


@pytest.fixture(scope="session")
def results(davis_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write shifted ground truth of `davis_source` as results."""
    folder = tmp_path_factory.mktemp("masks") / "shifted"
    for video in open_sources([Source(path=davis_source)]):
        (folder / video.name).mkdir(parents=True)
        for name, path in video.annotations().items():
            Image.fromarray(np.roll(read(path), 9, axis=1)).save(folder / video.name / f"{name}.png")
    return folder


def test_pca_shows_the_components_of_the_frames_chosen(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    common = ("show", "pca", davis_source, "--cache", extracted, "--out", tmp_path, "--videos", "two", "--json")
    result = cli(*common, "--frames", "0,2,00004", "--basis", "0,3", "--movie")
    assert result.code == 0
    sheet, movie = pictures(result.out)["two"]
    assert (sheet.name, frame_count(movie)) == ("two-pca.png", 5)
    unit = open_cache(extracted).find("davis", "two", IMAGE)
    raw = unit.features.compute().astype(np.float32)
    values = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
    basis = pca_basis(values[[0, 3]])
    limits = pca_limits([basis.project(values[[0, 3]])])
    picture = read(sheet)
    for frame in range(5):
        drawn = enlarge_cells(pca_colours(values[frame], basis, limits), (96, 128))
        # Another order of normalization may round differently.
        close = cv2.matchTemplate(picture, drawn, cv2.TM_SQDIFF).min() / drawn.size < 0.1
        assert close == (frame in (0, 2, 4))
    (video,) = open_sources([Source(path=davis_source)])[1:]
    assert holds(picture, video.frames.read(2))


def test_pca_compares_features(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    common = ("show", "pca", davis_source, "--cache", extracted, "--out", tmp_path, "--videos", "one")
    assert cli(*common).code == 0
    two = read(tmp_path / "one-pca.png")
    assert cli(*common, "--feature", "adm:51:output_blocks[7]", "--count", 2).code == 0
    one = read(tmp_path / "one-pca.png")
    assert two.shape[1] > one.shape[1]
    missing = cli(*common, "--feature", "adm:51,99:output_blocks[7]")
    assert missing.code == 1
    assert "no features adm:99:output_blocks[7] of davis/one" in missing.err


def test_similarity(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    common = ("show", "similarity", davis_source, "--cache", extracted, "--videos", "two", "--json")
    result = cli(*common, "--out", tmp_path / "a", "--point", "2:100,40", "--movie", "--count", 3)
    assert result.code == 0
    sheet, movie = pictures(result.out)["two"]
    assert frame_count(movie) == 5
    whole = read(sheet)
    assert whole.shape[1] <= 1600
    window = cli(*common, "--out", tmp_path / "b", "--point", "2:100,40", "--radius", 1, "--count", 3)
    assert window.code == 0
    (part,) = pictures(window.out)["two"]
    # Frames are grey outside of the window.
    coloured = [(np.ptp(picture.astype(int), axis=-1) > 20).sum() for picture in (whole, read(part))]
    assert coloured[1] < coloured[0] / 2
    other = cli(*common, "--out", tmp_path / "c", "--point", "2:20,80", "--count", 3)
    assert (read(pictures(other.out)["two"][0]) != whole).any()


def test_arrows_of_pixels_on_the_objects_or_given(
    cli: Cli, davis_source: Path, extracted: Path, results: Path, tmp_path: Path
) -> None:
    common = ("show", "arrows", davis_source, "--cache", extracted, "--videos", "two", *SMALL, "--json")
    shown: list[Any] = []
    for number, more in enumerate(
        [
            ("--onto", "previous", "--movie"),
            ("--onto", "previous", "--results", results),
            ("--frame", 3),
            ("--frame", 3, "--point", "64,40", "--point", "10,90"),
        ]
    ):
        result = cli(*common, "--out", tmp_path / str(number), *more)
        assert result.code == 0, result.err
        paths = pictures(result.out)["two"]
        shown.append(read(paths[0]))
        if "--movie" in more:
            assert frame_count(paths[1]) == 4
    assert len({picture.tobytes() for picture in shown}) == 4


def test_masks_side_by_side_with_the_truth(cli: Cli, davis_source: Path, results: Path, tmp_path: Path) -> None:
    common = ("show", "masks", davis_source, "--out", tmp_path, "--json")
    result = cli(*common, "--results", f"one way={results}", "--results", results, "--frames", "0,3", "--movie")
    assert result.code == 0
    shown = pictures(result.out)
    assert {name: frame_count(paths[1]) for name, paths in shown.items()} == {"one": 4, "two": 5}
    for video in open_sources([Source(path=davis_source)]):
        picture = read(shown[video.name][0])
        assert picture.shape[1] > 3 * 128
        for frame in range(4):
            truth = read(video.annotations()[f"{frame:05d}"])
            for ids in (truth, np.roll(truth, 9, axis=1)):
                assert holds(picture, overlay_mask(video.frames.read(frame), ids)) == (frame in (0, 3))
    alone = cli(*common, "--results", results, "--no-truth", "--videos", "one")
    video = open_sources([Source(path=davis_source)])[0]
    truth = overlay_mask(video.frames.read(0), read(video.annotations()["00000"]))
    assert not holds(read(pictures(alone.out)["one"][0]), truth)


def test_figures_for_papers(cli: Cli, davis_source: Path, results: Path, tmp_path: Path) -> None:
    """A row per result and a column per frame, text as text, a file per video."""
    common = ("show", "masks", davis_source, "--out", tmp_path, "--results", f"one way={results}", "--frames", "0,3")
    drawn = cli(*common, "--figure", tmp_path / "a.svg")
    assert drawn.code == 0, drawn.err
    for name in ("one", "two"):
        assert str(tmp_path / f"a-{name}.svg") in drawn.out
        svg = (tmp_path / f"a-{name}.svg").read_text()
        assert {"00000", "00003", "ground truth", "one way"} <= set(re.findall(r">([^<>]+)</text>", svg))
        assert svg.count("<image ") == 4
    wrong = cli(*common, "--figure", tmp_path / "c.jpg")
    assert (wrong.code, "written as .pdf or .svg" in wrong.err) == (2, True)


def test_a_figure_has_the_same_bytes_twice(tmp_path: Path) -> None:
    picture = np.full((6, 8, 3), 90, np.uint8)
    first, second = (write_figure(tmp_path / name, {"a": [picture]}, ["0"], {1: "swan"}) for name in ("a.pdf", "b.pdf"))
    assert first.read_bytes().startswith(b"%PDF")
    assert first.read_bytes() == second.read_bytes()


def test_a_video_that_fails_stops_no_other(cli: Cli, davis_source: Path, results: Path, tmp_path: Path) -> None:
    some = Path(shutil.copytree(results, tmp_path / "some"))
    shutil.rmtree(some / "one")
    result = cli("show", "masks", davis_source, "--out", tmp_path / "out", "--results", some)
    assert result.code == 1
    assert "no masks of video 'one'" in result.err
    assert "ted propagate" in result.err
    assert (tmp_path / "out" / "two-masks.png").is_file()
    assert not (tmp_path / "out" / "one-masks.png").exists()


def test_folders_without_truth(cli: Cli, tmp_path: Path) -> None:
    source = frames_folder(tmp_path / "clip", random_video(3))
    mask = mask_file(tmp_path / "mask.png")
    folder = tmp_path / "results" / "clip"
    folder.mkdir(parents=True)
    for name in "02":
        mask_file(folder / f"{name}.png", value=3)
    common = ("show", "masks", source, "--mask", mask, "--out", tmp_path / "out", "--json")
    result = cli(*common, "--results", tmp_path / "results")
    sheet = read(pictures(result.out)["clip"][0])
    (video,) = open_sources([Source(path=source)])
    for frame, masked in enumerate((True, False, True)):  # a result may leave frames out
        assert holds(sheet, video.frames.read(frame)) != masked
        assert holds(sheet, overlay_mask(video.frames.read(frame), read(folder / "0.png"))) == masked
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "2.png")
    wrong = cli(*common, "--results", tmp_path / "results")
    assert wrong.code == 1
    assert "2.png is 5x5 pixels" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pca", "--frames", "0,9"), "no frame '9': the video has 4, named 00000 to 00003"),
        (("pca", "--basis", "x"), "no frame 'x'"),
        (("pca", "--feature", "adm:51"), "is not BACKBONE:TIMESTEP:TAP"),
        (("similarity",), "name a pixel with --point FRAME:X,Y, or a frame to click on"),
        (
            ("similarity", "--point", "0:5,5", "--click", "0"),
            "name a pixel with --point FRAME:X,Y, or a frame to click on",
        ),
        (("similarity", "--click", "9"), "no frame '9'"),
        (("similarity", "--click", "0"), "there is no display for a window: name the pixel with --point"),
        (("similarity", "--point", "5,5"), "is not FRAME:X,Y in whole pixels"),
        (("similarity", "--point", "0:128,5"), "which is 128x96"),
        (("similarity", "--point", "0:5,5", "--alpha", "2"), "alpha must lie in [0, 1]"),
        (("arrows", "--frame", "0"), "its label comes from no other frame"),
        (("arrows", "--point", "200,3"), "outside of the frame"),
        (("arrows", "--temperature", "0"), "temperature must be a positive number"),
        (("arrows", "--results", "nowhere"), "no masks of video 'one' in nowhere"),
        (("masks", "--results", "nowhere"), "there are no results at nowhere"),
        (("pca", "--cache", "nowhere"), "there is no cache at nowhere"),
        (("masks", "--fps", "0"), "--fps"),
    ],
)
def test_wrong_use_says_what_to_do(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    command, *options = arguments
    cache = () if command == "masks" or "--cache" in options else ("--cache", extracted)
    result = cli("show", command, davis_source, "--videos", "one", "--out", tmp_path / "out", *cache, *options)
    assert result.code in (1, 2)
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_pixels_need_a_mask_or_a_point(cli: Cli, extracted: Path, davis_source: Path, tmp_path: Path) -> None:
    frames = davis_source / "JPEGImages" / "480p" / "one"
    common = ("show", "arrows", frames, "--dataset", "davis", "--cache", extracted, "--out", tmp_path, *SMALL)
    without = cli(*common)
    assert without.code == 2
    assert "name pixels with --point, or a folder with results" in without.err
    assert cli(*common, "--point", "30,30").code == 0


def test_what_is_void_is_background_but_a_binary_mask_is_an_object(davis_source: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(davis_source, tmp_path / "root"))
    masks = root / "Annotations" / "480p" / "one"
    mask_file(masks / "00000.png", (96, 128), value=255)
    mask_file(masks / "00001.png", (96, 128), value=255)
    Image.fromarray(np.zeros((96, 128), np.uint8)).save(masks / "00002.png")
    (masks / "00003.png").unlink()
    read_mask = true_masks(open_sources([Source(path=root)])[0])
    first, *others, last = (read_mask(frame) for frame in range(4))
    for mask in (first, others[0]):  # one meaning for all masks of a video
        assert mask is not None
        assert np.unique(mask).tolist() == [0, 1]
    assert not np.any(others[1])
    mask_file(masks / "00000.png", (96, 128), value=1)
    read_mask = true_masks(open_sources([Source(path=root)])[0])
    assert not np.any(read_mask(1))  # void beside numbers
    assert last is None


def test_titles_of_results(tmp_path: Path) -> None:
    for name in ("a", "b", "x=y"):
        (tmp_path / name).mkdir()
    found = parse_results([f"first={tmp_path / 'a'}", str(tmp_path / "b"), str(tmp_path / "x=y")])
    assert list(found) == ["first", "b", "x=y"]
    with pytest.raises(ConfigError, match="two results are titled 'b'"):
        parse_results([str(tmp_path / "b"), f"b={tmp_path / 'a'}"])
