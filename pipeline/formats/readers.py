"""Read outlines of objects from files of COCO, LabelMe, CVAT and YOLO, and from PNG files in other layouts."""

import base64
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ...store.errors import LabelError
from ..datasets.listing import list_files, list_folders, list_images
from ..datasets.masks_io import read_mask
from .geometry import box_polygon, polygons_to_mask, rle_to_mask, runs_to_mask
from .shapes import Shape

_Mask = npt.NDArray[np.bool_]

# So many colours that nowhere cover 3x3 pixels are a photo or a smoothed mask.
_EDGE_COLOURS = 10

_FORMATS = (
    "COCO or LabelMe JSON, CVAT XML, YOLO text files, PNG files in colours, and folders of the objects' PNG files "
    "(OBJECT/FRAME.png)"
)


def read_shapes(path: Path) -> list[Shape]:
    """Read the outlines in a file or folder; its content says the format.

    - ``.json``: COCO (polygons, run lengths, boxes; ``track_id``) or LabelMe; a folder of LabelMe files.
    - ``.xml``: CVAT for images or for video; a folder with ``annotations.xml``.
    - ``.txt``: YOLO, one file an image, polygons or boxes; a folder of them, with names in ``classes.txt``.
    - ``.png``: one colour, palette index or grey level for each object; a folder of them; a folder of folders named
      by object numbers, as SAM 2 writes.

    Raises
    ------
    LabelError
        If the path cannot be read, is of no known format, or is not as its format says.
    """
    if not path.exists():
        raise LabelError(f"{path} does not exist")
    if path.is_dir():
        return _read_folder(path)
    return _reader(path)(path)


def _read_folder(folder: Path) -> list[Shape]:
    if (folder / "annotations.xml").is_file():
        return _cvat(folder / "annotations.xml")
    for suffix in (".json", ".txt", ".png"):
        files = [path for path in list_files(folder, suffix) if path.name != "classes.txt"]
        if files:
            return [shape for path in files for shape in _reader(path)(path)]
    objects = [name for name in list_folders(folder) if name.isdecimal()]
    shapes = [
        Shape(
            where=str(path),
            image=path.stem,
            label=f"object {int(name)}",
            track=str(int(name)),
            mask=partial(_nonzero, path),
        )
        for name in objects
        for path in list_images(folder / name)
    ]
    if not shapes:
        raise LabelError(f"{folder} has no annotations of a known format: {_FORMATS}")
    return shapes


def _reader(path: Path) -> Callable[[Path], list[Shape]]:
    readers = {".json": _json, ".xml": _cvat, ".txt": _yolo, ".png": _png}
    if path.suffix.lower() not in readers:
        raise LabelError(f"{path} is of no known format: {_FORMATS}")
    return readers[path.suffix.lower()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not text in UTF-8") from error


def _json(path: Path) -> list[Shape]:
    try:
        values = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path} is not JSON: {error}") from error
    try:
        if isinstance(values, dict) and "shapes" in values:
            return list(_labelme(path, values))
        if isinstance(values, dict) and {"images", "annotations"} <= values.keys():
            return list(_coco(path, values))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise LabelError(f"{path} is not as its format says: {type(error).__name__} {error}") from error
    raise LabelError(f"{path} is neither COCO (images, annotations) nor LabelMe (shapes)")


def _coco(path: Path, values: Mapping[str, Any]) -> Iterator[Shape]:
    images = {image["id"]: image for image in values["images"]}
    labels = {category["id"]: str(category["name"]) for category in values.get("categories", ())}
    for number, item in enumerate(values["annotations"]):
        image = images[item["image_id"]]
        attributes = item.get("attributes") or {}
        track = next(
            (
                str(found[key])
                for found in (item, attributes)
                for key in ("track_id", "instance_id", "object_id")
                if found.get(key) is not None
            ),
            None,
        )
        segmentation = item.get("segmentation")
        if isinstance(segmentation, dict):
            mask = partial(rle_to_mask, segmentation)
        else:
            mask = partial(polygons_to_mask, segmentation or [box_polygon(*_numbers(item["bbox"], 4))])
        yield Shape(
            where=f"annotation {item.get('id', number)} of {path}",
            image=Path(str(image["file_name"]).replace("\\", "/")).stem,
            label=labels.get(item.get("category_id"), "object"),
            track=track,
            size=(int(image["height"]), int(image["width"])) if {"height", "width"} <= image.keys() else None,
            mask=mask,
        )


def _labelme(path: Path, values: Mapping[str, Any]) -> Iterator[Shape]:
    image = Path(str(values.get("imagePath") or path.stem).replace("\\", "/")).stem
    height, width = values.get("imageHeight"), values.get("imageWidth")
    # An instance is a label with a group, so groups of two labels are two.
    labels_of: dict[str, set[str]] = {}
    for item in values["shapes"]:
        labels_of.setdefault(str(item.get("group_id")), set()).add(str(item["label"]))
    for number, item in enumerate(values["shapes"]):
        points, kind = [_numbers(point, 2) for point in item["points"]], item.get("shape_type", "polygon")
        mask: Callable[[tuple[int, int]], _Mask]
        if kind == "mask":
            mask = partial(_labelme_mask, item["mask"], points)
        elif kind in ("polygon", "rectangle", "circle"):
            mask = partial(polygons_to_mask, [_outline(kind, points)])
        else:
            continue  # points and lines have no pixels
        group = item.get("group_id")
        track = f"{item['label']} {group}" if len(labels_of[str(group)]) > 1 else str(group)
        yield Shape(
            where=f"shape {number + 1} of {path}",
            image=image,
            label=str(item["label"]),
            track=None if group is None else track,
            size=None if height is None or width is None else (int(height), int(width)),
            mask=mask,
        )


def _outline(kind: str, points: list[list[float]]) -> list[float]:
    if kind == "polygon":
        return [value for point in points for value in point]
    (x0, y0), (x1, y1) = points[0], points[-1]
    if kind == "rectangle":
        return box_polygon(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
    radius = math.hypot(x1 - x0, y1 - y0)
    turns = [2 * math.pi * step / 64 for step in range(64)]
    return [value for turn in turns for value in (x0 + radius * math.cos(turn), y0 + radius * math.sin(turn))]


def _labelme_mask(data: str, points: list[list[float]], size: tuple[int, int]) -> _Mask:
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=["PNG"]) as image:
            part = np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LabelError("has a mask that is not a PNG in base64") from error
    return _paste(part, points[0][0], points[0][1], size)


def _paste(part: _Mask, left: float, top: float, size: tuple[int, int]) -> _Mask:
    """Return a mask of a size with a smaller one at a corner."""
    if not (0 <= left <= size[1] - part.shape[1] and 0 <= top <= size[0] - part.shape[0]):
        raise LabelError(f"has a mask of {part.shape[1]}x{part.shape[0]} pixels at {left:g}, {top:g}, not in the frame")
    mask = np.zeros(size, np.bool_)
    mask[int(top) : int(top) + part.shape[0], int(left) : int(left) + part.shape[1]] = part
    return mask


def _cvat(path: Path) -> list[Shape]:
    text = _text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # CVAT writes none, and entities can be a bomb
        raise LabelError(f"{path} has a document type, which annotations of CVAT have not")
    try:
        root = ElementTree.fromstring(text)
        size = root.find(".//original_size")
        whole = None if size is None else (int(size.findtext("height", "")), int(size.findtext("width", "")))
        shapes: list[Shape] = []
        for track in root.iter("track"):
            for element in track:
                if element.get("outside") != "1":
                    shapes += _cvat_shape(
                        path, element, int(element.attrib["frame"]), track.attrib["label"], track.attrib["id"], whole
                    )
        for image in root.iter("image"):
            own = int(image.attrib["height"]), int(image.attrib["width"])
            for element in image:
                name = Path(image.attrib["name"].replace("\\", "/")).stem
                group = element.get("group_id", "0")
                shapes += _cvat_shape(
                    path, element, name, element.get("label", ""), None if group == "0" else group, own
                )
    except (ElementTree.ParseError, KeyError, ValueError, OverflowError) as error:
        raise LabelError(f"{path} is not an annotation file of CVAT: {error}") from error
    return shapes


def _cvat_shape(
    path: Path,
    element: ElementTree.Element,
    image: str | int,
    label: str,
    track: str | None,
    size: tuple[int, int] | None,
) -> list[Shape]:
    """Return a box, polygon, ellipse or mask; nothing for points, lines and other elements."""
    values = element.attrib
    mask: Callable[[tuple[int, int]], _Mask]
    if element.tag == "box":
        left, top, right, bottom = (float(values[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
        degrees = float(values.get("rotation", 0))
        mask = partial(polygons_to_mask, [box_polygon(left, top, right - left, bottom - top, degrees)])
    elif element.tag == "polygon":
        points = [float(value) for point in values["points"].split(";") for value in point.split(",")]
        mask = partial(polygons_to_mask, [points])
    elif element.tag == "mask":
        left, top, width, height = (int(float(values[name])) for name in ("left", "top", "width", "height"))
        runs = np.array([int(value) for value in values["rle"].split(",")], dtype=np.int64)
        mask = partial(_cvat_mask, runs, (left, top, width, height))
    else:
        return []
    return [
        Shape(
            where=f"a {element.tag} of {label[:60]!r} in image {image!r} of {path}",
            image=image,
            label=label,
            track=track,
            size=size,
            order=int(values.get("z_order", 0)),
            mask=mask,
        )
    ]


def _cvat_mask(runs: npt.NDArray[np.int64], box: tuple[int, int, int, int], size: tuple[int, int]) -> _Mask:
    left, top, width, height = box
    if not (0 < width <= size[1] and 0 < height <= size[0]):
        raise LabelError(f"has a mask of {width}x{height} pixels, larger than the frame")
    return _paste(runs_to_mask(runs, (height, width)), left, top, size)


def _yolo(path: Path) -> list[Shape]:
    names = path.with_name("classes.txt")
    labels = _text(names).splitlines() if names.is_file() else []
    shapes = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        try:
            kind, *values = line.split()
            index, parts = int(kind), [float(value) for value in values]
        except ValueError as error:
            raise LabelError(
                f"{where} is not of YOLO: it is CLASS x y x y ..., or CLASS x y width height for a box"
            ) from error
        label = labels[index].strip() if 0 <= index < len(labels) else f"class {index}"
        shapes.append(Shape(where=where, image=path.stem, label=label, mask=partial(_yolo_mask, parts)))
    return shapes


def _yolo_mask(values: list[float], size: tuple[int, int]) -> _Mask:
    """Fill a polygon or a box (centre, width, height) in relative coordinates, 0 to 1."""
    scaled = [value * size[1 - at % 2] for at, value in enumerate(values)]
    if len(scaled) == 4:
        x, y, width, height = scaled
        scaled = box_polygon(x - width / 2, y - height / 2, width, height)
    return polygons_to_mask([scaled], size)


def _png(path: Path) -> list[Shape]:
    """Return a shape for each colour of a picture, or for each object of a mask."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            colours = None if image.mode not in ("RGB", "RGBA") else np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LabelError(f"cannot read {path}: {error}") from error
    if colours is None or (colours == colours[..., :1]).all():
        ids = read_mask(path).astype(np.uint32)
        names = {int(value): (f"object {value}", str(value)) for value in np.unique(ids)}
        if set(names) <= {0, 255}:  # a mask of one object
            names[255] = ("object 1", "1")
        else:
            names.pop(255, None)  # void pixels
    else:
        ids = colours.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        found = np.unique(ids)
        square = np.ones((3, 3), np.uint8)
        exact = ids.astype(np.float32)  # of 24 bits
        solid = np.unique(ids[np.asarray(cv2.erode(exact, square) == cv2.dilate(exact, square))])
        if len(found) - len(solid) >= _EDGE_COLOURS:
            raise LabelError(
                f"{path} has {len(found)} colours, and {len(found) - len(solid)} of them only in edges: it is a photo, "
                "or a mask that was smoothed or compressed; save it without anti-aliasing, one colour for each object"
            )
        names = {int(value): (f"#{value:06x}", f"#{value:06x}") for value in found}
    return [
        Shape(
            where=str(path), image=path.stem, label=label, track=track,
            size=(ids.shape[0], ids.shape[1]), mask=partial(_equal, ids, value),
        )
        for value, (label, track) in names.items()
        if value
    ]  # fmt: skip


def _equal(ids: npt.NDArray[np.uint32], value: int, _size: tuple[int, int]) -> _Mask:
    return np.asarray(ids == value)


def _nonzero(path: Path, size: tuple[int, int]) -> _Mask:
    return np.asarray(read_mask(path, size) > 0)


def _numbers(values: Any, count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count:
        raise ValueError(f"{count} numbers are needed, and there are {len(numbers)}")
    return numbers
