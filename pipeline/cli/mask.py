"""``ted mask``."""

from pathlib import Path

import click

from ..choices.hints import plural
from .base import answer, arg, command, next_command, opt
from .options import DEVICE, TextChoice, at_least


class _Pixel(click.ParamType[tuple[int, int]]):
    name = "X,Y"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        x, _, y = str(value).partition(",")
        if not (x.isdecimal() and y.isdecimal() and len(x) < 7 and len(y) < 7):
            self.fail(f"{value!r} is not X,Y, such as 180,95", param, ctx)
        return int(x), int(y)


class _Box(click.ParamType[tuple[float, float, float, float]]):
    name = "X,Y,W,H"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        try:
            x, y, width, height = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not X,Y,W,H, such as 120,64,200,150", param, ctx)
        if not all(abs(number) < 1e6 for number in (x, y, width, height)) or width <= 0 or height <= 0:
            self.fail(f"{value!r} needs a positive width and height, in pixels", param, ctx)
        return x, y, width, height


class NamedObjects(TextChoice, title="Objects"):
    """Objects that are named by texts."""


@command(json=True)
def mask(
    source: Path = arg("VIDEO"),
    boxes: tuple[tuple[float, float, float, float], ...] = opt(
        "Box around an object in pixels: left, top, width and height. Repeat for more objects.",
        flag="--box",
        type=_Box(),
        title="Objects",
    ),
    outside: tuple[tuple[int, int], ...] = opt(
        "Pixel in a box that does not belong to its object, such as the ground between legs. Repeat.",
        flag="--not",
        type=_Pixel(),
    ),
    imported: Path | None = opt(
        "Annotations of another tool: COCO or LabelMe JSON, CVAT XML, YOLO text files, PNG files in colours, or "
        "folders OBJECT/FRAME.png as SAM 2 writes.",
        flag="--from",
    ),
    frame: str | None = opt(
        "Frame to annotate, by name or by number from 0.  [default: the first frame]", metavar="FRAME"
    ),
    number: int = opt("Number of the object of the first box or text.", 1, flag="--object", type=at_least(1, 254)),
    fill: bool = opt("Fill boxes, instead of separating the object in them by GrabCut."),
    sam: Path | None = opt(
        "Separate objects by a model of the SAM family instead: a folder in the layout of transformers.",
        metavar="FOLDER",
    ),
    device: str = DEVICE,
    *,
    words: NamedObjects,
    out: Path = opt("Folder of the masks.", "masks", title="Output"),
    overwrite: bool = opt("Replace the video's masks in the folder, instead of adding to them."),
) -> None:
    """Make the first mask of your own VIDEO, a video file or a folder of frames.

    Without --box, --text and --from, a window opens: draw a box, a polygon or with a brush, or click on the object, in
    any frames. --box and --text need no display. GrabCut finds the object in a box by its colours. The masks are
    palette PNGs, OUT/VIDEO/FRAME.png, for `--annotations OUT/VIDEO` of `ted propagate`. Run the command again to add
    objects (--object) and frames (--frame), or without options to correct masks in the window.

    For example:
        ted mask walk.mp4 --box 120,64,200,150
        ted mask walk.mp4 --text "the left deer" --by weights/grounding-dino-tiny
        ted mask walk.mp4 --from annotations.json
    """
    from ...store import printable, safe_name
    from ...store.errors import ConfigError
    from ..annotating.masks import edit_masks, import_masks, masks_from_boxes, read_masks, write_masks
    from ..annotating.segmenters import fill_box, grab_cut, load_sam
    from ..datasets.listing import list_masks
    from ..datasets.sources import Source, open_source
    from ..pictures.selection import frame_index
    from ..runs.devices import choose_device

    if sum([bool(boxes), bool(words.texts), imported is not None]) > 1 or (fill and sam is not None):
        raise ConfigError("--box, --text and --from, and --fill and --sam, exclude each other: leave one of them out")
    videos = open_source(Source(path=source))
    if len(videos) != 1 or videos[0].dataset not in ("folder", "video"):
        raise ConfigError(
            f"{source} is a dataset, which has its own annotations: give a video file or a folder of frames"
        )
    (video,) = videos
    index = None if frame is None else frame_index(frame, video.frames.names)
    folder = out / safe_name(video.name)
    if folder.resolve() == source.resolve():
        raise ConfigError(f"masks would be written among the frames in {folder}: choose another --out")
    targets, before = None, {}
    if imported is not None:
        if list_masks(folder) and not overwrite:
            raise ConfigError(f"there are masks in {folder}: add --overwrite to replace them, or choose another --out")
        found = import_masks(video, imported, frame=index)
    else:
        segment = fill_box if fill else grab_cut if sam is None else load_sam(sam, choose_device(device))
        before = {} if overwrite else read_masks(video, folder)
        if (targets := words.targets(device, segment=segment)) is not None:
            found = targets.find(video, index or 0, number=number, masks=before)
        elif boxes:
            found = masks_from_boxes(
                video, boxes, segment, outside=outside, frame=index or 0, number=number, masks=before
            )
        else:
            found = edit_masks(video, segment, frame=index or 0, masks=before)
    if targets is not None and not before:
        folder, sheet = targets.save(video, found, out, index or 0)
    else:
        folder, sheet = write_masks(video, found, out, alone=overwrite)
    objects = {int(value) for ids in found.masks.values() for value in set(ids[ids > 0].tolist())}
    named = {str(key): found.names.get(key, f"object {key}") for key in sorted(objects)}
    frames = [video.frames.names[at] for at in sorted(found.masks)]
    answer(
        {"masks": str(folder), "overlay": str(sheet), "frames": frames, "objects": named, "notes": list(found.notes)},
        *(printable(note) for note in found.notes),
        printable(f"{plural(len(objects), 'object')} in {plural(len(found.masks), 'frame')}: {folder}"),
        printable(f"look at them: {sheet}"),
        then=[
            next_command("extract", sources=[source], preset="colours"),
            next_command("propagate", sources=[source], annotations=folder, preset="colours", overlay=True),
        ],
    )
