"""A video file, with masks of its first frame or of any, or with a table of boxes or points."""

from pathlib import Path

from ...extract.frames import VideoFrames
from .folder import annotation_masks, table_video
from .video import AnnotatedMask, Video

__all__ = ["video_file"]


def video_file(
    path: Path,
    first_mask: Path | None = None,
    annotations: Path | None = None,
    *,
    at_most: int | None = None,
    tasks: tuple[str, ...] = (),
) -> Video:
    """Open a video file.

    Parameters
    ----------
    path
        The file; its stem becomes the video's name.
    first_mask
        Mask of the first frame.
    annotations
        Folder of masks of any frames, named by their numbers: ``00000.png`` is that of the first. Or a table of boxes
        or points, or a folder with one.
    at_most
        Frames beyond this many are never looked at.
    tasks
        Names of the tasks whose own format the annotations are in; they are read by the task then.

    Raises
    ------
    FrameError
        When there is no such file.
    LabelError
        When the folder of masks holds none; when a table cannot be used.
    """
    frames = VideoFrames(path, at_most=at_most)
    if tasks:
        return Video(dataset="video", name=path.stem, frames=frames, tasks=tasks, annotation_file=annotations)
    given = {} if first_mask is None else {"00000": AnnotatedMask(path=first_mask)}
    if annotations is not None:
        placed = table_video("video", path.stem, frames, annotations)
        if placed is not None:
            return placed
        given = annotation_masks(annotations)
    masks = {name: mask.path for name, mask in given.items()}
    return Video(dataset="video", name=path.stem, frames=frames, annotated_masks=given, frame_masks=masks)
