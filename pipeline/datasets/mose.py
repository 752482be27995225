"""MOSE: JPEGImages/<video>, Annotations/<video>, without lists: every folder is a video."""

from pathlib import Path

from ...store.errors import FrameError
from .listing import list_folders, list_masks
from .video import Video, image_video

__all__ = ["is_mose_root", "mose_video", "mose_videos"]

# Folders between JPEGImages and the videos of a DAVIS root.
_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")


def is_mose_root(root: Path) -> bool:
    """Return whether a folder looks like a split of MOSE: as DAVIS, without lists and resolutions."""
    images = root / "JPEGImages"
    return (
        images.is_dir() and not (root / "ImageSets").exists() and not any((images / r).exists() for r in _RESOLUTIONS)
    )


def mose_videos(root: Path) -> tuple[str, ...]:
    """Return the names of the videos; raises FrameError if there are none."""
    names = list_folders(root / "JPEGImages")
    if not names:
        raise FrameError(f"no videos: no folders in {root / 'JPEGImages'}")
    return names


def mose_video(root: Path, name: str) -> Video:
    """Open one video; its objects join where they first appear. Raises FrameError if it has no frames."""
    masks = list_masks(root / "Annotations" / name)
    return image_video("mose", name, root / "JPEGImages" / name, masks, objects_join=True)
