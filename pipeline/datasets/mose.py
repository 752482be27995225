"""MOSE: JPEGImages/<video>, Annotations/<video>, without lists: every folder is a video, given in its first frame."""

from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import FrameError
from .listing import list_folders, list_images, list_masks
from .video import AnnotatedMask, Video

__all__ = ["is_mose_root", "mose_video", "mose_videos"]

# Folders between JPEGImages and the videos of a DAVIS root.
_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")


def is_mose_root(root: Path) -> bool:
    """Whether a folder looks like a split of MOSE: that of DAVIS, but for the lists and the resolutions."""
    images = root / "JPEGImages"
    return (
        images.is_dir() and not (root / "ImageSets").exists() and not any((images / r).exists() for r in _RESOLUTIONS)
    )


def mose_videos(root: Path) -> tuple[str, ...]:
    """Names of the videos.

    Raises
    ------
    FrameError
        When there are none.
    """
    names = list_folders(root / "JPEGImages")
    if not names:
        raise FrameError(f"no videos: no folders in {root / 'JPEGImages'}")
    return names


def mose_video(root: Path, name: str) -> Video:
    """Open one video.

    Raises
    ------
    FrameError
        When it has no frames.
    """
    images = list_images(root / "JPEGImages" / name)
    if not images:
        raise FrameError(f"video {name!r} has no frames: no images in {root / 'JPEGImages' / name}")
    masks = list_masks(root / "Annotations" / name)
    first = images[0].stem
    return Video(
        dataset="mose",
        name=name,
        frames=ImageFrames(images),
        annotated_masks={first: AnnotatedMask(path=masks[first])} if first in masks else {},
        frame_masks={image.stem: masks[image.stem] for image in images if image.stem in masks},
        objects_join=True,
    )
