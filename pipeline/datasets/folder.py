"""A folder of images, one per frame, with masks of the first or of any."""

from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import FrameError, LabelError
from .listing import list_images, list_masks
from .video import GivenMask, Video

__all__ = ["folder_video", "given_masks"]


def folder_video(folder: Path, first_mask: Path | None = None, annotations: Path | None = None) -> Video:
    """Open a folder of frames, in the order of the numbers in their names.

    Parameters
    ----------
    folder
        Folder of images; its name becomes the video's.
    first_mask
        Mask of the first frame. It may lie in the same folder, and is not taken for a frame then.
    annotations
        Folder of masks of any frames, named like these.

    Raises
    ------
    FrameError
        When the folder has no frames, or two of the same name.
    LabelError
        When the folder of masks holds none, or one that is named like no frame.
    """
    mask = None if first_mask is None else first_mask.resolve()
    images = [path for path in list_images(folder) if mask is None or path.resolve() != mask]
    if not images:
        raise FrameError(f"no frames: no images in folder {folder}")
    given = {} if annotations is None else given_masks(annotations)
    strange = sorted(given.keys() - {image.stem for image in images})
    if strange:
        raise LabelError(
            f"{annotations} holds masks of frames that {folder} does not have: {', '.join(strange[:5])}; masks are "
            f"named like the frames, {images[0].stem}.png to {images[-1].stem}.png"
        )
    masks = {}
    if first_mask is not None:
        masks = {images[0].stem: first_mask}
        given = {images[0].stem: GivenMask(path=first_mask)}
    name = folder.resolve().name
    return Video(dataset="folder", name=name, frames=ImageFrames(images), given=given, frame_masks=masks)


def given_masks(folder: Path) -> dict[str, GivenMask]:
    """Return the masks of a folder by name of the frame: each gives the objects that it holds.

    Raises
    ------
    LabelError
        When there are none.
    """
    masks = list_masks(folder)
    if not masks:
        raise LabelError(f"there are no masks in {folder}: --annotations takes a folder of PNG files named like frames")
    return {name: GivenMask(path=path) for name, path in masks.items()}
