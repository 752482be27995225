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
    folder: Path, first_mask: Path | None = None, annotations: Path | None = None, *, tasks: tuple[str, ...] = ()
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
    video = _annotated("folder", folder.resolve().name, frames, first, first_mask, annotations, tasks)
    unknown = sorted(video.annotated_masks.keys() - {image.stem for image in images})
    if unknown:
        raise LabelError(
            f"{annotations} holds masks of frames that {folder} does not have: {', '.join(unknown[:5])}; masks are "
            f"named like the frames, {images[0].stem}.png to {images[-1].stem}.png"
        )
    return video


def file_video(
    path: Path,
    first_mask: Path | None = None,
    annotations: Path | None = None,
    *,
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
    return _annotated("video", path.stem, frames, "00000", first_mask, annotations, tasks)


def _annotated(
    dataset: str,
    name: str,
    frames: FrameSource,
    first: str,
    first_mask: Path | None,
    annotations: Path | None,
    tasks: tuple[str, ...],
) -> Video:
    """Return a video with a mask of its frame `first`, or with `annotations`."""
    if tasks:
        return Video(dataset=dataset, name=name, frames=frames, tasks=tasks, annotation_file=annotations)
    masks: Mapping[str, Path] = {} if first_mask is None else {first: first_mask}
    if annotations is not None:
        table = find_annotation_table(annotations)
        masks = list_masks(annotations)
        if table is not None and masks:
            raise LabelError(
                f"{annotations} has masks and the table {table.name}: a run tracks one kind of annotation; give "
                "--annotations the table itself, or a folder of masks alone"
            )
        if table is not None:
            rows = read_annotation_table(table)
            return TableVideo(dataset=dataset, name=name, frames=frames, table=rows, tasks=(rows.kind,))
        if not masks:
            raise LabelError(
                f"there are no masks in {annotations}: --annotations takes a folder of PNG files named like frames, or "
                "a table of boxes (boxes.csv, gt.txt) or points (points.csv)"
            )
    return Video(
        dataset=dataset,
        name=name,
        frames=frames,
        annotated_masks={frame: AnnotatedMask(path=path) for frame, path in masks.items()},
        frame_masks=masks,
    )
