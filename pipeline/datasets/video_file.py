"""A video file, with a mask of its first frame."""

from pathlib import Path

from ...extract.frames import VideoFrames
from .video import Video

__all__ = ["video_file"]


def video_file(path: Path, first_mask: Path | None = None, *, at_most: int | None = None) -> Video:
    """Open a video file.

    Parameters
    ----------
    path
        The file; its stem becomes the video's name.
    first_mask
        Mask of the first frame.
    at_most
        Frames beyond this many are never looked at.

    Raises
    ------
    FrameError
        When there is no such file.
    """
    frames = VideoFrames(path, at_most=at_most)
    masks = {} if first_mask is None else {"00000": first_mask}
    return Video(dataset="video", name=path.stem, frames=frames, first_mask=first_mask, frame_masks=masks)
