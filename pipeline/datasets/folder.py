"""A folder of images, one per frame, with a mask of the first."""

from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import FrameError
from .listing import list_images
from .video import Video

__all__ = ["folder_video"]


def folder_video(folder: Path, first_mask: Path | None = None) -> Video:
    """Open a folder of frames, in the order of the numbers in their names.

    Parameters
    ----------
    folder
        Folder of images; its name becomes the video's.
    first_mask
        Mask of the first frame. It may lie in the same folder, and is not taken for a frame then.

    Raises
    ------
    FrameError
        When the folder has no frames, or two of the same name.
    """
    mask = None if first_mask is None else first_mask.resolve()
    images = [path for path in list_images(folder) if mask is None or path.resolve() != mask]
    if not images:
        raise FrameError(f"no frames: no images in folder {folder}")
    masks = {} if first_mask is None else {images[0].stem: first_mask}
    name = folder.resolve().name
    return Video(dataset="folder", name=name, frames=ImageFrames(images), first_mask=first_mask, frame_masks=masks)
