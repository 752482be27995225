"""Annotations in the formats of other tools, written here as those tools write them."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from ted.pipeline.formats.readers import read_shapes
from ted.pipeline.formats.shapes import NamedMasks, draw_shapes
from ted.store.errors import LabelError

SIZE = (40, 60)
FRAMES = tuple(f"{index:05d}" for index in range(5))


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


A, B = rectangle(5, 10, 20, 15), rectangle(35, 4, 10, 30)
A_POINTS, B_POINTS = [5, 10, 25, 10, 25, 25, 5, 25], [35, 4, 45, 4, 45, 34, 35, 34]


def imported(path: Path, frame: int | None = None) -> NamedMasks:
    return draw_shapes(read_shapes(path), FRAMES, SIZE, frame=frame)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def image(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 8, "name": "ball"}]


def coco_file(folder: Path) -> Path:
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 7, "segmentation": [A_POINTS]},
        {"id": 2, "image_id": 3, "category_id": 8, "segmentation": compressed(B), "iscrowd": 1},
        {"id": 3, "image_id": 4, "category_id": 8, "segmentation": [], "bbox": [5, 10, 20, 15]},
    ]
    images = [image(3, "folder/00001.jpg"), image(4, "00003.jpg")]
    return write(folder / "coco.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})


def labelme_folder(folder: Path) -> Path:
    part = io.BytesIO()
    Image.fromarray(np.full((30, 10), 255, np.uint8)).save(part, "PNG")
    encoded = base64.b64encode(part.getvalue()).decode()
    for name, shapes in {
        "00001": [
            {"label": "dog", "points": [[5, 10], [25, 10], [25, 25], [5, 25]], "shape_type": "polygon"},
            {"label": "ball", "points": [[35, 4], [44, 33]], "shape_type": "mask", "mask": encoded},
            {"label": "nose", "points": [[7, 12]], "shape_type": "point"},
        ],
        "00003": [{"label": "ball", "points": [[25, 25], [5, 10]], "shape_type": "rectangle"}],
    }.items():
        values = {
            "version": "5.4",
            "shapes": shapes,
            "imagePath": f"..\\{name}.jpg",
            "imageHeight": 40,
            "imageWidth": 60,
        }
        write(folder / f"{name}.json", values)
    return folder


def cvat_images(folder: Path) -> Path:
    points = "5.00,10.00;25.00,10.00;25.00,25.00;5.00,25.00"
    return write(
        folder / "annotations.xml",
        f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <image id="0" name="a/00001.jpg" width="60" height="40">
    <mask label="ball" source="manual" occluded="0" rle="0, 300" left="35" top="4" width="10" height="30" z_order="1"/>
    <polygon label="dog" source="manual" occluded="0" points="{points}" z_order="0"/>
    <points label="nose" points="7,12"/>
  </image>
  <image id="1" name="a/00003.jpg" width="60" height="40">
    <box label="ball" xtl="5" ytl="10" xbr="25" ybr="25" z_order="0"/>
  </image>
</annotations>""",
    ).parent


def cvat_video(folder: Path) -> Path:
    points = "5,10;25,10;25,25;5,25"
    return write(
        folder / "video.xml",
        f"""<annotations><meta><original_size><width>60</width><height>40</height></original_size></meta>
  <track id="0" label="dog"><polygon frame="1" outside="0" keyframe="1" points="{points}" z_order="0"/>
    <polygon frame="2" outside="1" keyframe="1" points="{points}" z_order="0"/></track>
  <track id="1" label="ball"><mask frame="1" outside="0" rle="0, 300" left="35" top="4" width="10" height="30"/>
    <box frame="3" outside="0" xtl="5" ytl="10" xbr="25" ybr="25"/></track>
</annotations>""",
    )


def yolo_folder(folder: Path) -> Path:
    shares = [value / SIZE[1 - at % 2] for at, value in enumerate(A_POINTS)]
    x, y, width, height = 40 / 60, 19 / 40, 10 / 60, 30 / 40
    write(folder / "00001.txt", f"0 {' '.join(map(str, shares))}\n1 {x} {y} {width} {height}\n")
    write(folder / "00003.txt", f"1 {' '.join(map(str, shares))}\n")
    write(folder / "classes.txt", "dog\nball\n")
    return folder


def object_folders(folder: Path) -> Path:
    for name, frame, mask in (("001", "00001", A), ("002", "00001", B), ("002", "00003", A)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(folder / name / f"{frame}.png")
    return folder


def coloured_pictures(folder: Path) -> Path:
    folder.mkdir()
    one, two = np.zeros((*SIZE, 3), np.uint8), np.zeros((*SIZE, 3), np.uint8)
    one[A], one[B], two[A] = (0, 0, 200), (255, 0, 10), (255, 0, 10)
    Image.fromarray(one).save(folder / "00001.png")
    Image.fromarray(two).save(folder / "00003.png")
    return folder


@pytest.mark.parametrize(
    "make",
    [coco_file, labelme_folder, cvat_images, cvat_video, yolo_folder, object_folders, coloured_pictures],
)
def test_the_same_masks_from_all_formats(make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = imported(make(tmp_path / "given"))
    numbers = found.names
    first, second = sorted(numbers, key=lambda number: bool((found.masks[3] == number).any()))
    assert list(found.masks) == [1, 3]
    np.testing.assert_array_equal(found.masks[1], first * A + second * B)
    np.testing.assert_array_equal(found.masks[3], second * A)
    if make not in (object_folders, coloured_pictures):
        assert (numbers[first], numbers[second]) == ("dog", "ball")
    if make is object_folders:
        assert (first, second) == (1, 2)
    assert not found.notes


def test_tracks_and_their_numbers_are_kept(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [A_POINTS], "track_id": 12},
        {"id": 2, "image_id": 1, "category_id": 7, "segmentation": [B_POINTS], "attributes": {"track_id": 5}},
        {"id": 3, "image_id": 2, "category_id": 7, "segmentation": [A_POINTS], "track_id": 5},
    ]
    values = {"images": [image(1, "00000.png"), image(2, "00004.png")], "annotations": annotations}
    found = imported(write(tmp_path / "a.json", values))
    np.testing.assert_array_equal(found.masks[0], 12 * A + 5 * B)
    np.testing.assert_array_equal(found.masks[4], 5 * A)
    for item in annotations:
        item.pop("track_id", None), item.pop("attributes", None)
    with pytest.raises(LabelError, match="nothing says which of them are the same object"):
        imported(write(tmp_path / "a.json", values))
    values["annotations"] = annotations[:2]  # in one image alone, each is an object
    np.testing.assert_array_equal(imported(write(tmp_path / "a.json", values)).masks[0], 1 * A + 2 * B)


def test_labelme_groups(tmp_path: Path) -> None:
    """Shapes of one group are one object; groups of two labels are two."""
    shapes = [
        {"label": "dog", "group_id": 1, "points": np.reshape(A_POINTS, (-1, 2)).tolist()},
        {"label": "dog", "group_id": 1, "points": np.reshape(B_POINTS, (-1, 2)).tolist()},
        {"label": "cat", "group_id": 2, "points": [[0, 0], [60, 0], [60, 2], [0, 2]]},
    ]
    found = imported(write(tmp_path / "00002.json", {"shapes": shapes}))
    np.testing.assert_array_equal(found.masks[2], A | B | 2 * rectangle(0, 0, 60, 2))
    shapes[1]["label"] = "horse"
    assert len(imported(write(tmp_path / "00002.json", {"shapes": shapes})).names) == 3


def test_names_of_images_and_frames(tmp_path: Path) -> None:
    shape = {"label": "dog", "points": np.reshape(A_POINTS, (-1, 2)).tolist()}
    for name in ("shot", "frame_000003", "frame_000090"):
        write(tmp_path / f"{name}.json", {"shapes": [shape], "imagePath": f"{name}.png"})
    assert list(imported(tmp_path / "shot.json", frame=4).masks) == [4]
    with pytest.raises(LabelError, match=r"the images are shot, and the frames 00000 .*; name its frame with --frame"):
        imported(tmp_path / "shot.json")
    (tmp_path / "shot.json").unlink()
    found = imported(tmp_path)
    assert list(found.masks) == [3]
    assert found.notes == [
        "images belong to frames by their numbers: frame_000003 to frame 00003",
        "left out 1 image that the video does not have, first frame_000090",
    ]
    with pytest.raises(LabelError, match="2 images, which cannot all be of one frame"):
        imported(tmp_path, frame=1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", [], "neither COCO"),
        ("a.json", {"shapes": [{}]}, "not as its format says: KeyError"),
        ("a.json", {"shapes": 3}, "not as its format says: TypeError"),
        ("a.json", {"shapes": []}, "no outline of an object"),
        ("a.json", {"images": [], "annotations": [{"image_id": 1}]}, "not as its format says: KeyError"),
        ("00001.json", {"shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}]}, "shape 1 of .* has a polygon of 4"),
        ("00001.json", {"shapes": [{"label": "a", "points": [[1, 2], [3, 4], [5, 1e308]]}]}, "far outside"),
        ("00001.json", '{"shapes": [{"label": "a", "points": [[1, 2], [3, 4], [5, NaN]]}]}', "a point at nan"),
        (
            "00001.json",
            {"shapes": [{"label": "a", "points": [[1, 2], [3, 4], [5, 2]]}], "imageHeight": 80, "imageWidth": 120},
            "is of an image of 120x80 pixels, but the frames are 60x40",
        ),
        (
            "00001.json",
            {"shapes": [{"label": "a", "points": [[1, 2], [3, 4]], "shape_type": "mask", "mask": "????"}]},
            "not a PNG in base64",
        ),
        ("a.xml", "<annotations><image>", "not an annotation file of CVAT"),
        ("a.xml", "<annotations/>", "no outline"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "a document type"),
        ("a.xml", '<a><track id="0" label="x"><box frame="x"/></track></a>', "not an annotation file of CVAT"),
        (
            "a.xml",
            '<a><track id="0" label="x"><mask frame="0" rle="9" left="0" top="0" width="999" height="9"/></track></a>',
            "larger than the frame",
        ),
        (
            "a.xml",
            '<a><track id="0" label="x"><mask frame="0" rle="50" left="58" top="0" width="10" height="5"/></track></a>',
            "10x5 pixels at 58, 0, not in the frame",
        ),
        ("00001.txt", "dog 1 2 3\n", "line 1 of .* is not of YOLO"),
        ("00001.txt", "0 0.1 0.2 0.3\n", "polygon of 3 numbers"),
        ("00001.txt", "0 nan 0.2 0.3 0.4\n", "a point at nan"),
        ("a.doc", "", "no known format: COCO or LabelMe"),
    ],
)  # fmt: skip
def test_wrong_files(name: str, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=message):
        imported(write(tmp_path / name, content))


def test_wrong_folders_and_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "absent", "does not exist"),
        (tmp_path / "empty", "no annotations of a known format"),
    ]:
        with pytest.raises(LabelError, match=message):
            imported(path)
    photo = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "00001.png")
    with pytest.raises(LabelError, match="a photo, or a mask that was smoothed"):
        imported(tmp_path / "00001.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "00001.png")
    with pytest.raises(LabelError, match="no outline"):
        imported(tmp_path / "00001.png")
    shapes = [{"label": "a", "group_id": number, "points": [[0, 0], [9, 0], [9, 9]]} for number in range(255)]
    with pytest.raises(LabelError, match="255 objects, and a mask has 254 at most"):
        imported(write(tmp_path / "00001.json", {"shapes": shapes}))
