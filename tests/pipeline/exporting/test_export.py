"""Exports, read back by the libraries and readers of other tools."""

import csv
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from ted.pipeline.datasets.annotation_tables import read_annotation_table
from ted.pipeline.exporting import EXPORTERS, export_results
from ted.pipeline.formats.readers import read_shapes
from ted.pipeline.formats.shapes import draw_shapes
from ted.pipeline.tasks.boxes.results import BoxResult
from ted.pipeline.tasks.masks.png import write_mask
from ted.store.errors import ConfigError
from tests.console import next_commands

from ..conftest import Cli

NAMES = ("00000", "00001", "00002")
SIZE = (25, 36)
CONFIDENCE = {("00000", 1): 1.0, ("00000", 3): 1.0, ("00001", 1): 0.75, ("00001", 3): 0.5, ("00002", 1): 0.125}
BOXES = np.array([[[2.5, 3, 10, 8], [4, 3, 10, 8.25], [np.nan] * 4]])


@pytest.fixture
def masks() -> NDArray[np.uint8]:
    """Object 1 has two parts and a hole; object 3 touches it and leaves before the last frame."""
    ids = np.zeros((3, *SIZE), np.uint8)
    for frame in range(3):
        ids[frame, 2 + frame : 14, 3:20] = 1
        ids[frame, 5:8, 6 + frame : 10] = 0
        ids[frame, 18:24, 30:36] = 1
        ids[frame, 9:20, 15:25] = 3 if frame < 2 else 0
        ids[frame, frame, 35] = 1  # a single pixel, diagonal to nothing
    return ids


@pytest.fixture
def results(tmp_path: Path, masks: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "results" / "walk"
    for name, ids in zip(NAMES, masks, strict=True):
        write_mask(folder / f"{name}.png", ids)
    with (folder / "confidence.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("frame", "object", "confidence"), *((*key, value) for key, value in CONFIDENCE.items())]
        )
    (folder / "ted.json").write_text("{}")
    return tmp_path / "results"


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    y, x = np.indices(SIZE)
    frames = np.stack([np.stack([x * 7, y * 10, 0 * x + 60 * frame], -1) for frame in range(3)])
    return frames.astype(np.uint8)


@pytest.fixture
def video(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "walk"
    folder.mkdir()
    for name, picture in zip(NAMES, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


def boxes_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "boxes" / "walk"
    folder.mkdir(parents=True)
    BoxResult(
        frames=NAMES, numbers=np.array([1, 4, 7]), ids=np.array([5]), boxes=BOXES, mass=np.ones((1, 3)),
        given=np.array([[True, False, False]]), confidence=np.array([[1, 0.25, np.nan]]),
    ).write(folder)  # fmt: skip
    (folder / "ted.json").write_text("{}")
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
def test_coco_by_its_own_api(results: Path, tmp_path: Path, masks: NDArray[np.uint8]) -> None:
    (path,) = export_results(results, "coco", tmp_path / "out")
    coco = COCO(str(path))
    assert [coco.imgs[number]["file_name"] for number in sorted(coco.imgs)] == [f"{name}.jpg" for name in NAMES]
    found = np.zeros_like(masks)
    for item in coco.anns.values():
        mask = coco.annToMask(item)
        found[item["image_id"]][mask == 1] = item["track_id"]
        rows, columns = np.nonzero(mask)
        assert item["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert item["area"] == mask.sum()
        assert item["score"] == CONFIDENCE[NAMES[item["image_id"]], item["track_id"]]
    np.testing.assert_array_equal(found, masks)
    assert {item["name"] for item in coco.cats.values()} == {"object 1", "object 3"}


@pytest.mark.parametrize("form", ["coco", "cvat", "labelme", "yolo"])
def test_masks_come_back_exactly_by_the_readers(
    form: str, results: Path, video: Path, tmp_path: Path, masks: NDArray[np.uint8]
) -> None:
    (path,) = export_results(results, form, tmp_path / "out", video=video if form in ("labelme", "yolo") else None)
    found = draw_shapes(read_shapes(path), NAMES, SIZE)
    assert found.names == ({1: "object 1", 3: "object 3"} if form != "yolo" else {1: "object 1", 2: "object 3"})
    for frame, ids in enumerate(masks):
        expected = np.where(ids == 3, 2, ids) if form == "yolo" else ids  # a class alone, which YOLO knows, is numbered
        np.testing.assert_array_equal(found.masks[frame], expected)
    if form == "labelme":
        written = json.loads((path / "00001.json").read_text())
        with Image.open(path / written["imagePath"]) as image:
            assert image.size == (written["imageWidth"], written["imageHeight"]) == SIZE[::-1]
        assert {shape["description"] for shape in written["shapes"]} == {"confidence 0.7500", "confidence 0.5000"}
    if form == "yolo":
        assert (tmp_path / "out/images/walk/00002.jpg").is_file()


def test_boxes_of_masks_and_of_boxes_for_motchallenge(results: Path, tmp_path: Path) -> None:
    (path,) = export_results(results, "mot", tmp_path / "out")
    rows = np.loadtxt(path, delimiter=",")
    assert rows.shape == (5, 10)
    assert rows[:, :2].astype(int).tolist() == [[1, 1], [1, 3], [2, 1], [2, 3], [3, 1]]
    assert rows[1, 2:7].tolist() == [15, 9, 10, 11, 1]
    assert rows[:, 6].tolist() == [1, 1, 0.75, 0.5, 0.125]
    (path,) = export_results(boxes_folder(tmp_path), "mot", tmp_path / "out2")
    rows = np.loadtxt(path, delimiter=",")
    assert rows[:, :7].tolist() == [[1, 5, *BOXES[0, 0], 1], [4, 5, *BOXES[0, 1], 0.25]]
    assert read_annotation_table(path).kind == "boxes"  # as annotations, too


@pytest.mark.parametrize("form", ["coco", "cvat", "labelme", "yolo"])
def test_boxes_come_back(form: str, video: Path, tmp_path: Path) -> None:
    folder = boxes_folder(tmp_path)
    with pytest.raises(ConfigError, match="do not have the size of frames"):
        export_results(folder, form, tmp_path / "out")
    (path,) = export_results(folder, form, tmp_path / "out", video=video)
    shapes = read_shapes(path)
    assert [shape.image for shape in shapes] == list(NAMES[:2])
    filled = np.zeros(SIZE, bool)
    filled[3:11, 4:14] = True  # 4, 3, 10, 8.25
    np.testing.assert_array_equal(shapes[1].mask(SIZE), filled)


def test_davis_and_arrays(results: Path, tmp_path: Path, masks: NDArray[np.uint8]) -> None:
    (folder,) = export_results(results, "davis", tmp_path / "davis", objects=[3])
    assert folder == tmp_path / "davis/Annotations/480p/walk"
    for name, ids in zip(NAMES, masks, strict=True):
        with Image.open(folder / f"{name}.png") as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), np.where(ids == 3, 3, 0))
    assert (tmp_path / "davis/ImageSets/2017/val.txt").read_text() == "walk\n"
    (path,) = export_results(results / "walk", "npz", tmp_path / "npz")
    with np.load(path) as found:
        np.testing.assert_array_equal(found["masks"], masks)
        assert found["object_ids"].tolist() == [1, 3]
        assert found["boxes"][1, 0].tolist() == [15, 9, 10, 11]
        np.testing.assert_array_equal(found["confidence"], [[1, 0.75, 0.125], [1, 0.5, np.nan]])


@pytest.mark.parametrize(("form", "decoder"), [("prores", "prores"), ("webm", "libvpx-vp9")])
def test_movies_with_alpha(
    form: str, decoder: str, tmp_path: Path, masks: NDArray[np.uint8], pictures: NDArray[np.uint8]
) -> None:
    masks, pictures = (array.repeat(4, 1).repeat(4, 2)[:, 1:] for array in (masks, pictures))  # an odd height
    for name, ids, picture in zip(NAMES, masks, pictures, strict=True):
        write_mask(tmp_path / "large" / f"{name}.png", ids)
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "frames" / f"{name}.png")
    (path,) = export_results(tmp_path / "large", form, tmp_path / "out", video=tmp_path / "frames", fps=5)
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.average_rate == 5
        own = av.codec.CodecContext.create(decoder, "r")  # FFmpeg's own VP9 leaves alpha out
        own.extradata = stream.codec_context.extradata
        frames = [frame for packet in container.demux(stream) for frame in own.decode(packet)]  # type: ignore[attr-defined]
    assert len(frames) == 3
    for frame, ids, picture in zip(frames, masks, pictures, strict=True):
        found = frame.reformat(format="rgba").to_ndarray()[: len(ids)]
        wrong = (found[..., 3] > 127) != (ids > 0)
        assert wrong.mean() < (0.02 if form == "webm" else 1e-3)  # VP9 blurs edges
        assert np.abs(found[..., :3].astype(int) - picture)[ids > 0].mean() < 8


def test_cutouts(
    results: Path, video: Path, tmp_path: Path, masks: NDArray[np.uint8], pictures: NDArray[np.uint8]
) -> None:
    (folder,) = export_results(results, "cutouts", tmp_path / "out", video=video)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png")) == [
        "1/00000.png", "1/00001.png", "1/00002.png", "3/00000.png", "3/00001.png"
    ]  # fmt: skip
    with Image.open(folder / "3/00001.png") as image:
        found = np.asarray(image)
    np.testing.assert_array_equal(found[..., 3], 255 * (masks[1] == 3))
    np.testing.assert_array_equal(found[..., :3], pictures[1])


def test_the_command(cli: Cli, results: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = cli("export", results, "--to", "coco")
    assert made.code == 0, made.err
    assert (tmp_path / "results-coco/walk.json").is_file()
    assert "results-coco" in made.out
    for form in ("mot", "davis"):
        (command,) = next_commands(made.out)
        assert command == f"ted export {results} --to {form}"
        made = cli(*command.split()[1:])
    assert not next_commands(made.out)  # all that it would suggest are there
    again = cli("export", results, "--to", "coco")
    assert (again.code, "holds an export" in again.err) == (2, True)
    assert cli("export", results, "--to", "coco", "--overwrite").code == 0
    blind = cli("export", results, "--to", "cutouts", "--out", tmp_path / "cut")
    assert (blind.code, "--source" in blind.err, (tmp_path / "cut").exists()) == (2, True, False)
    assert cli("export", results, "--to", "cutouts", "--out", tmp_path / "cut", "--source", video).code == 0
    wrong = cli("export", boxes_folder(tmp_path), "--to", "cutouts", "--out", tmp_path / "no", "--source", video)
    assert (wrong.code, "needs masks" in wrong.err) == (2, True)
    (tmp_path / "empty").mkdir()
    empty = cli("export", tmp_path / "empty", "--to", "npz")
    assert (empty.code, "holds no results" in empty.err) == (2, True)
    assert all(form in cli("export", "--help").out for form in EXPORTERS)


def test_results_of_the_same_name_are_not_mixed(results: Path, tmp_path: Path) -> None:
    for part in "ab":
        shutil.copytree(results / "walk", tmp_path / "all" / part / "walk")
    with pytest.raises(ConfigError, match=r"all/a/walk and .*all/b/walk would be .* same files.* one at a time"):
        export_results(tmp_path / "all", "mot", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(export_results(tmp_path / "all" / "b", "mot", tmp_path / "out")) == 1


def test_nothing_but_an_export_is_replaced(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    for folder in (results, results / "walk", tmp_path):
        with pytest.raises(ConfigError, match="it is not an export"):
            export_results(results, "coco", folder, overwrite=True)
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    (whole,) = export_results(results, "mot", tmp_path / "out")
    content = whole.read_bytes()

    def stop(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setitem(EXPORTERS, "mot", stop)
    with pytest.raises(KeyboardInterrupt):
        export_results(results, "mot", tmp_path / "out", overwrite=True)
    assert whole.read_bytes() == content
