"""Write results in the formats of other tools."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...store.durable import explain_os_errors
from ...store.errors import ConfigError
from ..formats.geometry import mask_to_polygons, mask_to_rle
from ..pictures.movie import write_movie
from ..runs.files import written_whole
from ..runs.result_folders import atomic_folder, read_record
from ..tasks.masks.png import write_mask
from .tracked import TrackedFrame, TrackedVideo, open_tracked


def export_results(
    results: Path,
    form: str,
    out: Path,
    *,
    video: Path | None = None,
    objects: Sequence[int] = (),
    fps: float = 24.0,
    overwrite: bool = False,
) -> list[Path]:
    """Write the results of one or several videos in a format of other tools.

    Parameters
    ----------
    results
        Folder of results, or of one video's result.
    form
        Name of the format, a key of `EXPORTERS`.
    out
        Folder to write to; it appears when all of it is written, with a record, ``ted.json``.
    video
        Source of the frames, for formats that need them.
    objects
        Numbers of the objects to write; by default all.
    fps
        Frames per second of movies.
    overwrite
        Replace an earlier export in `out`; other folders are never replaced.

    Returns
    -------
    list of Path
        What was written for each video: a file, or a folder.

    Raises
    ------
    ConfigError
        For an unknown format, a folder that is in the way, results that the format cannot hold, or frames that are
        needed and not given.
    CacheError
        When the files cannot be written.
    LabelError
        For results that cannot be read, or have other frames than the video.
    """
    exporter = EXPORTERS.get(form)
    if exporter is None:
        raise ConfigError(f"there is no format {form!r}; there are: {', '.join(EXPORTERS)}")
    tracked = open_tracked(results, video, objects)
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if "export" not in (read_record(out) or {}):
            raise ConfigError(f"{out} is in the way: it is not an export. Give another --out, or move it")
        if not overwrite:
            raise ConfigError(f"{out} holds an export: give another --out, or --overwrite to replace it")
    with explain_os_errors(f"write {out}"), atomic_folder(out, {"export": form}) as hidden:
        written = [exporter(one, hidden, fps) for one in tracked]
        return [out / path.relative_to(hidden) for path in written]


def _coco(video: TrackedVideo, out: Path, _fps: float) -> Path:
    height, width = video.needed_size()
    images, seen = [], set()
    annotations: list[dict[str, Any]] = []
    for index, frame in enumerate(video.frames()):
        images.append({"id": index, "file_name": f"{frame.name}.jpg", "height": height, "width": width})
        for item in frame.objects:
            seen.add(item.number)
            found: dict[str, Any] = {"id": len(annotations) + 1, "image_id": index, "category_id": item.number}
            found |= {"track_id": item.number, "iscrowd": 0, "bbox": list(item.box)}
            if item.mask is None:
                found |= {"area": item.box[2] * item.box[3], "segmentation": []}
            else:
                found |= {"area": int(np.count_nonzero(item.mask)), "segmentation": mask_to_rle(item.mask)}
            annotations.append(found | ({} if item.confidence is None else {"score": item.confidence}))
    categories = [{"id": number, "name": _label(number), "supercategory": "object"} for number in sorted(seen)]
    return _write_json(
        out / f"{video.name}.json",
        {"info": {"description": video.name}, "images": images, "annotations": annotations, "categories": categories},
    )


def _yolo(video: TrackedVideo, out: Path, _fps: float) -> Path:
    height, width = video.needed_size()
    labels, most = out / "labels" / video.name, 0
    for frame in video.frames():
        lines = []
        for item in frame.objects:
            most = max(most, item.number)
            if item.mask is None:
                x, y, wide, high = item.box
                values = [(x + wide / 2) / width, (y + high / 2) / height, wide / width, high / height]
            else:
                polygon = np.array(_one_polygon(mask_to_polygons(item.mask)))
                values = (polygon / np.tile([width, height], len(polygon) // 2)).tolist()
            lines.append(" ".join([str(item.number - 1), *(f"{value:.8f}" for value in values)]))
        _write_text(labels / f"{frame.name}.txt", "".join(f"{line}\n" for line in lines))
        if video.video is not None:
            _write_image(out / "images" / video.name / f"{frame.name}.jpg", video.pixels(frame.name))
    names = [_label(number) for number in range(1, most + 1)]
    _write_text(labels / "classes.txt", "".join(f"{name}\n" for name in names))
    lines = [f"path: .\ntrain: images/{video.name}\nval: images/{video.name}\nnames:"]
    _write_text(
        out / f"{video.name}.yaml", "\n".join([*lines, *(f"  {at}: {name}" for at, name in enumerate(names)), ""])
    )
    return labels


def _cvat(video: TrackedVideo, out: Path, _fps: float) -> Path:
    height, width = video.needed_size()
    root, seen = ElementTree.Element("annotations"), set()
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for index, frame in enumerate(video.frames()):
        size = {"width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", {"id": str(index), "name": f"{frame.name}.jpg", **size})
        for item in frame.objects:
            seen.add(item.number)
            common = {"label": _label(item.number), "source": "semi-auto", "occluded": "0"}
            common |= {"z_order": "0", "group_id": str(item.number)}
            left, top, wide, high = item.box
            if item.mask is None:
                corners = {"xtl": left, "ytl": top, "xbr": left + wide, "ybr": top + high}
                ElementTree.SubElement(image, "box", common | {name: f"{value:.3f}" for name, value in corners.items()})
                continue
            x, y, wide, high = map(int, item.box)
            runs = ",".join(map(str, _row_runs(item.mask[y : y + high, x : x + wide])))
            place = {"left": str(x), "top": str(y), "width": str(wide), "height": str(high)}
            ElementTree.SubElement(image, "mask", common | {"rle": runs, **place})
    for number in sorted(seen):
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = _label(number)
    ElementTree.indent(root)
    return _write_text(out / f"{video.name}.xml", ElementTree.tostring(root, "unicode", xml_declaration=True) + "\n")


def _mot(video: TrackedVideo, out: Path, _fps: float) -> Path:
    lines = []
    for frame in video.frames():
        for item in frame.objects:
            box = ",".join(f"{value:.3f}" for value in item.box)
            confidence = 1.0 if item.confidence is None else item.confidence
            lines.append(f"{frame.number},{item.number},{box},{confidence:.4f},-1,-1,-1\n")
    return _write_text(out / f"{video.name}.txt", "".join(lines))


def _labelme(video: TrackedVideo, out: Path, _fps: float) -> Path:
    height, width = video.needed_size()
    for frame in video.frames():
        shapes = []
        for item in frame.objects:
            x, y, wide, high = item.box
            common = {"label": _label(item.number), "group_id": item.number, "flags": {}}
            if item.confidence is not None:
                common["description"] = f"confidence {item.confidence:.4f}"
            if item.mask is None:
                outlines, kind = [[x, y, x + wide, y + high]], "rectangle"
            else:
                outlines, kind = mask_to_polygons(item.mask), "polygon"
            for values in outlines:
                points = [list(point) for point in zip(values[::2], values[1::2], strict=True)]
                shapes.append(common | {"points": points, "shape_type": kind})
        content: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{frame.name}.jpg"}
        content |= {"imageData": None, "imageHeight": height, "imageWidth": width}
        _write_json(out / video.name / f"{frame.name}.json", content)
        if video.video is not None:
            _write_image(out / video.name / f"{frame.name}.jpg", video.pixels(frame.name))
    return out / video.name


def _davis(video: TrackedVideo, out: Path, _fps: float) -> Path:
    folder = out / "Annotations" / "480p" / video.name
    for frame in video.frames():
        write_mask(folder / f"{frame.name}.png", _ids(video, frame))
    listed = out / "ImageSets" / "2017" / "val.txt"
    names = listed.read_text(encoding="utf-8") if listed.is_file() else ""
    _write_text(listed, f"{names}{video.name}\n")
    return folder


def _npz(video: TrackedVideo, out: Path, _fps: float) -> Path:
    frames = list(video.frames())
    numbers = sorted({item.number for frame in frames for item in frame.objects})
    row_of = {number: row for row, number in enumerate(numbers)}
    boxes = np.full((len(numbers), len(frames), 4), np.nan)
    confidence = np.full((len(numbers), len(frames)), np.nan)
    for index, frame in enumerate(frames):
        for item in frame.objects:
            boxes[row_of[item.number], index] = item.box
            confidence[row_of[item.number], index] = np.nan if item.confidence is None else item.confidence
    arrays: dict[str, Any] = {"frames": np.array([frame.name for frame in frames]), "object_ids": np.array(numbers)}
    masks = [frame.ids for frame in frames if frame.ids is not None]
    arrays |= {"boxes": boxes, "confidence": confidence} | ({"masks": np.stack(masks)} if masks else {})
    with written_whole(out / f"{video.name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    return out / f"{video.name}.npz"


def _alpha(suffix: str) -> Callable[[TrackedVideo, Path, float], Path]:
    """Return an exporter of a movie whose alpha channel shows the objects."""

    def write(video: TrackedVideo, out: Path, fps: float) -> Path:
        return write_movie(out / f"{video.name}{suffix}", _cut(video), fps=fps)

    return write


def _cut(video: TrackedVideo) -> Iterator[npt.NDArray[np.uint8]]:
    for frame in video.frames():
        alpha = np.where(_ids(video, frame) > 0, np.uint8(255), np.uint8(0))
        yield np.dstack([video.pixels(frame.name), alpha])


def _cutouts(video: TrackedVideo, out: Path, _fps: float) -> Path:
    for frame in video.frames():
        _ids(video, frame)
        pixels = video.pixels(frame.name)
        for item in frame.objects:
            assert item.mask is not None
            cut = np.dstack([pixels, item.mask.astype(np.uint8) * 255])
            _write_image(out / video.name / str(item.number) / f"{frame.name}.png", cut)
    return out / video.name


#: Formats by name: each writes a video to a folder, with frames per second for movies, and returns what it wrote.
EXPORTERS: dict[str, Callable[[TrackedVideo, Path, float], Path]] = {
    "coco": _coco,
    "yolo": _yolo,
    "cvat": _cvat,
    "mot": _mot,
    "labelme": _labelme,
    "davis": _davis,
    "npz": _npz,
    "prores": _alpha(".mov"),
    "webm": _alpha(".webm"),
    "cutouts": _cutouts,
}


def _label(number: int) -> str:
    return f"object {number}"


def _ids(video: TrackedVideo, frame: TrackedFrame) -> npt.NDArray[np.uint8]:
    if frame.ids is None:
        raise ConfigError(f"{video.name} has boxes, and this format needs masks")
    return frame.ids


def _one_polygon(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Join the polygons of an object by lines there and back along the axes, which cover no pixel."""
    joined = list(polygons[0])
    for polygon in polygons[1:]:
        start, first = joined[:2], list(polygon[:2])
        between = [first[0], start[1]]
        joined += [*start, *between, *polygon, *first, *between, *start]
    return joined


def _row_runs(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return the lengths of alternating runs along rows, first of 0."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]]])
    runs: list[int] = np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1])])).tolist()
    return runs


def _write_text(path: Path, text: str) -> Path:
    with written_whole(path, sync=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _write_json(path: Path, content: Any) -> Path:
    return _write_text(path, json.dumps(content) + "\n")


def _write_image(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    with written_whole(path, sync=False) as temporary:
        Image.fromarray(pixels).save(temporary, quality=95)
    return path
