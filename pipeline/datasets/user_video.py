"""A user's own video: a folder of images, a video file or an image of several pages, with masks, boxes or points."""

from collections.abc import Mapping
from pathlib import Path

from ...extract.frames import PAGE_SUFFIXES, FrameSource, ImageFrames, PageFrames, VideoFrames
from ...store.errors import FrameError, LabelError
from .annotation_tables import find_annotation_table, read_annotation_table
from .listing import list_images, list_masks
from .table_video import TableVideo
from .video import AnnotatedMask, Video

__all__ = ["file_video", "folder_video"]


def folder_video(
    folder: Path,
    first_mask: Path | None = None,
    annotations: Path | None = None,
    *,
    truth: Path | None = None,
    tasks: tuple[str, ...] = (),
) -> Video:
    """Open a folder of frames, in the order of the numbers in their names.

    Parameters
    ----------
    folder
        Folder of images; its name becomes the video's.
    first_mask
        Mask of the first frame. In the same folder, it does not count as a frame.
    annotations
        Folder of masks of any frames, named like the frames; or a table of boxes or points, or a folder with one.
    truth
        Ground truth, in the same forms. Without other annotations, propagation starts from its first mask.
    tasks
        Names of the tasks that read the annotations in their own format.

    Raises
    ------
    FrameError
        If the folder has no frames, or two of the same name.
    LabelError
        If the folder of masks is empty, or has a mask without a frame of that name; if a table cannot be used.
    """
    mask = None if first_mask is None else first_mask.resolve()
    images = [path for path in list_images(folder) if mask is None or path.resolve() != mask]
    if not images:
        raise FrameError(f"no frames: no images in folder {folder}")
    frames, first = ImageFrames(images), images[0].stem
    video = _annotated("folder", folder.resolve().name, frames, first, first_mask, annotations, truth, tasks)
    unknown = sorted({*video.annotated_masks, *video.frame_masks} - {image.stem for image in images})
    if unknown:
        raise LabelError(
            f"{annotations or truth} holds masks of frames that {folder} does not have: {', '.join(unknown[:5])}; "
            f"masks are named like the frames, {images[0].stem}.png to {images[-1].stem}.png"
        )
    return video


def file_video(
    path: Path,
    first_mask: Path | None = None,
    annotations: Path | None = None,
    *,
    truth: Path | None = None,
    at_most: int | None = None,
    tasks: tuple[str, ...] = (),
) -> Video:
    """Open a video file, or an image of several pages; without reading it.

    Parameters
    ----------
    path
        The file; its stem becomes the video's name.
    first_mask
        Mask of the first frame.
    annotations
        Folder of masks of any frames, named by number: ``00000.png`` for the first. Or a table of boxes or points, or a
        folder with one.
    truth
        Ground truth, as for `folder_video`.
    at_most
        Use only this many frames.
    tasks
        Names of the tasks that read the annotations in their own format.

    Raises
    ------
    FrameError
        If there is no such file.
    LabelError
        If the folder of masks is empty; if a table cannot be used.
    """
    paged = path.suffix.lower() in PAGE_SUFFIXES
    frames = PageFrames(path, at_most=at_most) if paged else VideoFrames(path, at_most=at_most)
    return _annotated("video", path.stem, frames, "00000", first_mask, annotations, truth, tasks)


def _annotated(
    dataset: str,
    name: str,
    frames: FrameSource,
    first: str,
    first_mask: Path | None,
    annotations: Path | None,
    truth: Path | None,
    tasks: tuple[str, ...],
) -> Video:
    """Return a video with a mask of its frame `first`, or with `annotations`; scored by `truth`, or by these."""
    if tasks:
        return Video(dataset=dataset, name=name, frames=frames, tasks=tasks, annotation_file=truth or annotations)
    masks: Mapping[str, Path] = {} if first_mask is None else {first: first_mask}
    for folder in (annotations, truth):
        table = None if folder is None else find_annotation_table(folder)
        if table is not None and folder is not None:
            if list_masks(folder):
                raise LabelError(
                    f"{folder} has masks and the table {table.name}: a run tracks one kind of annotation; give "
                    "the table itself, or a folder of masks alone"
                )
            rows = read_annotation_table(table)
            return TableVideo(dataset=dataset, name=name, frames=frames, table=rows, tasks=(rows.kind,))
    if annotations is not None:
        masks = _masks(annotations)
    true = masks if truth is None else _masks(truth)
    if not masks:
        masks = dict(list(true.items())[:1])
    return Video(
        dataset=dataset,
        name=name,
        frames=frames,
        annotated_masks={frame: AnnotatedMask(path=path) for frame, path in masks.items()},
        frame_masks=true,
        own_truth=True,
    )


def _masks(folder: Path) -> dict[str, Path]:
    found = list_masks(folder)
    if not found:
        raise LabelError(
            f"there are no masks in {folder}: a folder of PNG files named like frames is needed, or a table of boxes "
            "(boxes.csv, gt.txt) or points (points.csv); `ted mask VIDEO` makes masks, and reads those of other tools"
        )
    return found
