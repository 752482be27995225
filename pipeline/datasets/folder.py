"""A folder of images, one per frame, with masks of the first or of any, or with a table of boxes or points."""

from pathlib import Path

from ...extract.frames import FrameSource, ImageFrames
from ...store.errors import FrameError, LabelError
from .annotation_tables import find_annotation_table, read_annotation_table
from .listing import list_images, list_masks
from .table_video import TableVideo
from .video import AnnotatedMask, Video

__all__ = ["annotation_masks", "folder_video", "table_video"]


def folder_video(
    folder: Path, first_mask: Path | None = None, annotations: Path | None = None, *, tasks: tuple[str, ...] = ()
) -> Video:
    """Open a folder of frames, in the order of the numbers in their names.

    Parameters
    ----------
    folder
        Folder of images; its name becomes the video's.
    first_mask
        Mask of the first frame. It may lie in the same folder, and is not taken for a frame then.
    annotations
        Folder of masks of any frames, named like these; or a table of boxes or points, or a folder with one.
    tasks
        Names of the tasks whose own format the annotations are in; they are read by the task then.

    Raises
    ------
    FrameError
        When the folder has no frames, or two of the same name.
    LabelError
        When the folder of masks holds none, or one that is named like no frame; when a table cannot be used.
    """
    mask = None if first_mask is None else first_mask.resolve()
    images = [path for path in list_images(folder) if mask is None or path.resolve() != mask]
    if not images:
        raise FrameError(f"no frames: no images in folder {folder}")
    name, frames = folder.resolve().name, ImageFrames(images)
    if tasks:
        return Video(dataset="folder", name=name, frames=frames, tasks=tasks, annotation_file=annotations)
    placed = None if annotations is None else table_video("folder", name, frames, annotations)
    if placed is not None:
        return placed
    given = {} if annotations is None else annotation_masks(annotations)
    strange = sorted(given.keys() - {image.stem for image in images})
    if strange:
        raise LabelError(
            f"{annotations} holds masks of frames that {folder} does not have: {', '.join(strange[:5])}; masks are "
            f"named like the frames, {images[0].stem}.png to {images[-1].stem}.png"
        )
    if first_mask is not None:
        given = {images[0].stem: AnnotatedMask(path=first_mask)}
    masks = {name: mask.path for name, mask in given.items()}
    return Video(dataset="folder", name=name, frames=frames, annotated_masks=given, frame_masks=masks)


def table_video(dataset: str, name: str, frames: FrameSource, annotations: Path) -> TableVideo | None:
    """Return a video with the table that a path of annotations means; None for a folder of masks.

    Raises
    ------
    LabelError
        When the table cannot be used, or there are masks beside it.
    """
    path = find_annotation_table(annotations)
    if path is None:
        return None
    if annotations.is_dir() and list_masks(annotations):
        raise LabelError(
            f"{annotations} has masks, and the table {path.name}: a run follows one kind of thing; give --annotations "
            "the table itself, or a folder of masks alone"
        )
    table = read_annotation_table(path)
    return TableVideo(dataset=dataset, name=name, frames=frames, table=table, tasks=(table.kind,))


def annotation_masks(folder: Path) -> dict[str, AnnotatedMask]:
    """Return the masks of a folder by name of the frame: each gives the objects that it holds.

    Raises
    ------
    LabelError
        When there are none.
    """
    masks = list_masks(folder)
    if not masks:
        raise LabelError(
            f"there are no masks in {folder}: --annotations takes a folder of PNG files named like frames, or a table "
            "of boxes (boxes.csv, gt.txt) or points (points.csv)"
        )
    return {name: AnnotatedMask(path=path) for name, path in masks.items()}
