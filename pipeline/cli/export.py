"""``ted export``."""

from pathlib import Path
from typing import Literal

from ..choices.hints import plural
from .base import answer, arg, command, next_command, opt


@command(json=True)
def export(
    results: Path = arg("RESULTS"),
    form: Literal["coco", "yolo", "cvat", "mot", "labelme", "davis", "npz", "prores", "webm", "cutouts"] = opt(
        "Format of the files.", flag="--to", required=True, title="Input and output"
    ),
    source: Path | None = opt(
        "Video file, folder of frames or dataset of the results, for formats that show pixels or need their size."
    ),
    out: Path | None = opt("Folder to write.  [default: RESULTS-FORMAT, in this folder]"),
    overwrite: bool = opt("Replace an earlier export in that folder."),
    objects: tuple[int, ...] = opt(
        "Only the object of this number. Repeat for more.", flag="--object", title="Content"
    ),
    fps: float = opt("Frames per second of movies.", 24.0, type=float),
) -> None:
    """Write results for other tools: annotation tools, benchmarks, video editors.

    RESULTS is a folder of results of `ted propagate`, one video's folder in it, or a folder of masks.

    \b
    coco     VIDEO.json: masks as run lengths, boxes, track_id, confidence as score
    yolo     labels/VIDEO/FRAME.txt: polygons, or boxes; images too, with --source
    cvat     VIDEO.xml: CVAT for images 1.1, masks as run lengths, or boxes
    mot      VIDEO.txt: boxes and confidence in MOTChallenge's layout
    labelme  VIDEO/FRAME.json: polygons, or boxes; images too, with --source
    davis    Annotations/480p/VIDEO/FRAME.png and ImageSets/2017/val.txt
    npz      VIDEO.npz: arrays masks, boxes, confidence
    prores   VIDEO.mov: ProRes 4444, objects opaque, the rest transparent; needs --source
    webm     VIDEO.webm: VP9 with alpha, the same; needs --source
    cutouts  VIDEO/OBJECT/FRAME.png: RGBA, one object each; needs --source

    For example:
        ted export results --to coco
        ted export results/walk --to prores --source walk.mp4
        ted export results --to cutouts --source walk.mp4 --object 1 --out cutouts
    """  # noqa: D301  click takes the backspace for "do not wrap"
    from ..exporting import export_results

    out = out or _folder(results, form)
    written = export_results(results, form, out, video=source, objects=objects, fps=fps, overwrite=overwrite)
    others = [one for one in ("coco", "mot", "davis") if one != form and not _folder(results, one).exists()]
    answer(
        {"out": str(out), "written": [str(path) for path in written]},
        f"{plural(len(written), 'video')} exported as {form} to {out}; first: {written[0]}",
        then=[next_command("export", results=results, source=source, form=one) for one in others[:1]],
    )


def _folder(results: Path, form: str) -> Path:
    return Path(f"{results.resolve().name}-{form}")
