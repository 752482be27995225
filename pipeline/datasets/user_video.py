"""A user's own video: a folder of images, a video file or an image of several pages, with masks, boxes or points."""

from collections.abc import Mapping
from pathlib import Path

from ...extract.frames import PAGE_SUFFIXES, FrameSource, ImageFrames, PageFrames, VideoFrames
from ...store.errors import FrameError, LabelError
from .annotation_tables import find_annotation_table, read_annotation_table
from .listing import list_images, list_masks
from .table_video import TableVideo
from .video import AnnotatedMask, Source, Video


def own_video(source: Source, *, at_most: int | None = None) -> Video:
    """Open a folder of frames, in the order of the numbers in their names; or a video file, without reading it.

    Masks of a folder's frames are named like them; those of a file's, by number: ``00000.png`` for the first. A first
    mask in the folder of the frames does not count as a frame. At most `at_most` frames of a file are used. Raises
    FrameError if there are no frames, or two of the same name; and LabelError if the folder of masks is empty, or has a
    mask without a frame of that name; if a table cannot be used.
    """
    path, mask = source.path, source.first_mask
    if path.is_file():
        paged = path.suffix.lower() in PAGE_SUFFIXES
        frames = PageFrames(path, at_most=at_most) if paged else VideoFrames(path, at_most=at_most)
        return _annotated(source, "video", path.stem, frames, "00000")
    images = [image for image in list_images(path) if mask is None or image.resolve() != mask.resolve()]
    if not images:
        raise FrameError(f"no frames: no images in folder {path}")
    stems = [image.stem for image in images]
    video = _annotated(source, "folder", path.resolve().name, ImageFrames(images), stems[0])
    unknown = sorted({*video.annotated_masks, *video.frame_masks} - set(stems))
    if unknown:
        raise LabelError(
            f"{source.annotations or source.truth} holds masks of frames that {path} does not have: "
            f"{', '.join(unknown[:5])}; masks are named like the frames, {stems[0]}.png to {stems[-1]}.png"
        )
    return video


def _annotated(source: Source, dataset: str, name: str, frames: FrameSource, first: str) -> Video:
    """Return a video with a mask of its frame `first`, or with other annotations; scored by its truth, or by these."""
    annotations, truth = source.annotations, source.truth
    if source.tasks:
        given = truth or annotations
        return Video(dataset=dataset, name=name, frames=frames, tasks=source.tasks, annotation_file=given)
    masks: Mapping[str, Path] = {} if source.first_mask is None else {first: source.first_mask}
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
        inside = next((child for child in sorted(folder.iterdir()) if child.is_dir() and list_masks(child)), None)
        if inside is not None:
            raise LabelError(f"there are no masks in {folder} itself, but in folders there, such as {inside}: name one")
        raise LabelError(
            f"there are no masks in {folder}: a folder of PNG files named like frames is needed, or a table of boxes "
            "(boxes.csv, gt.txt) or points (points.csv); `ted mask VIDEO` makes masks, and reads those of other tools"
        )
    return found
