"""``ted mask``."""

import json
from pathlib import Path

import click

from ..choices.hints import plural
from .options import CONTEXT, LocalPath, json_option


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


@click.command(context_settings=CONTEXT)
@click.argument("source", metavar="VIDEO", type=LocalPath())
@click.option(
    "--box",
    "boxes",
    type=_Box(),
    multiple=True,
    help="Box around an object in pixels: left, top, width and height. Repeat for more objects.",
)
@click.option(
    "--from",
    "imported",
    metavar="PATH",
    type=LocalPath(),
    help="Annotations of another tool: COCO or LabelMe JSON, CVAT XML, YOLO text files, PNG files in colours, or "
    "folders OBJECT/FRAME.png as SAM 2 writes.",
)
@click.option(
    "--frame", metavar="FRAME", help="Frame to annotate, by name or by number from 0.  [default: the first frame]"
)
@click.option("--object", "number", type=click.IntRange(1, 254), default=1, help="Number of the first box's object.")
@click.option("--fill", is_flag=True, help="Fill boxes, instead of separating the object in them by GrabCut.")
@click.option(
    "--sam",
    metavar="FOLDER",
    type=LocalPath(),
    help="Separate objects by a model of the SAM family instead: a folder in the layout of transformers.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N; for --sam.")
@click.option("--out", type=LocalPath(), default="masks", help="Folder of the masks.")
@click.option("--overwrite", is_flag=True, help="Replace the video's masks in the folder, instead of adding to them.")
@json_option
def mask(
    source: Path,
    boxes: tuple[tuple[float, float, float, float], ...],
    imported: Path | None,
    frame: str | None,
    number: int,
    fill: bool,
    sam: Path | None,
    device: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make the first mask of your own VIDEO, a video file or a folder of frames.

    Without --box and --from, a window opens: draw a box, a polygon or with a brush, or click on the object, in any
    frames. --box needs no display. GrabCut finds the object in a box by its colours. The masks are palette PNGs,
    OUT/VIDEO/FRAME.png, for `--annotations OUT/VIDEO` of `ted propagate`. Run the command again to add objects
    (--object) and frames (--frame).
    """
    import shutil

    from ...store import printable, safe_name
    from ...store.errors import ConfigError
    from ..annotating.masks import edit_masks, import_masks, masks_from_boxes, read_masks, write_masks
    from ..annotating.segmenters import fill_box, grab_cut, load_sam
    from ..choices.next_steps import own_video_commands
    from ..datasets.listing import list_masks
    from ..datasets.sources import Source, open_source
    from ..pictures.selection import frame_index
    from ..runs.devices import choose_device

    if sum([bool(boxes), imported is not None]) > 1 or (fill and sam is not None):
        raise ConfigError("--box and --from, and --fill and --sam, exclude each other: leave one of them out")
    videos = open_source(Source(path=source))
    if len(videos) != 1 or videos[0].dataset not in ("folder", "video"):
        raise ConfigError(
            f"{source} is a dataset, which has its own annotations: give a video file or a folder of frames"
        )
    (video,) = videos
    index = None if frame is None else frame_index(frame, video.frames.names)
    folder = out / safe_name(video.name)
    if imported is not None:
        if list_masks(folder) and not overwrite:
            raise ConfigError(f"there are masks in {folder}: add --overwrite to replace them, or choose another --out")
        found = import_masks(video, imported, frame=index)
    else:
        segment = fill_box if fill else grab_cut if sam is None else load_sam(sam, choose_device(device))
        before = {} if overwrite else read_masks(video, folder)
        if boxes:
            found = masks_from_boxes(video, boxes, segment, frame=index or 0, number=number, masks=before)
        else:
            found = edit_masks(video, segment, frame=index or 0, masks=before)
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    folder, sheet = write_masks(video, found, out)
    objects = {int(value) for ids in found.masks.values() for value in set(ids[ids > 0].tolist())}
    if as_json:
        named = {str(key): found.names.get(key, f"object {key}") for key in sorted(objects)}
        frames = [video.frames.names[at] for at in sorted(found.masks)]
        values = {"masks": str(folder), "overlay": str(sheet), "frames": frames, "objects": named}
        click.echo(json.dumps(values | {"notes": list(found.notes)}, indent=1))
        return
    lines = [*found.notes, f"{plural(len(objects), 'object')} in {plural(len(found.masks), 'frame')}: {folder}"]
    lines += [f"look at them: {sheet}", "next:", *own_video_commands(source, folder)]
    click.echo(printable("\n".join(lines), keep="\n"))
