"""MOSE: JPEGImages/<video>, Annotations/<video>, without lists: every folder is a video."""

from pathlib import Path

from ...store.errors import FrameError
from .listing import list_folders, list_masks
from .video import Dataset, Source, Video, image_video

# Folders between JPEGImages and the videos of a DAVIS root.
_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")


def _matches(root: Path) -> bool:
    """Tell whether a folder looks like a split of MOSE: as DAVIS, without lists and resolutions."""
    images = root / "JPEGImages"
    return (
        images.is_dir() and not (root / "ImageSets").exists() and not any((images / r).exists() for r in _RESOLUTIONS)
    )


def _names(source: Source) -> tuple[str, ...]:
    images = source.path / "JPEGImages"
    names = list_folders(images)
    if not names:
        raise FrameError(f"no videos: no folders in {images}")
    return names


def _video(source: Source, name: str) -> Video:
    masks = list_masks(source.path / "Annotations" / name)
    return image_video("mose", name, source.path / "JPEGImages" / name, masks, objects_join=True)


MOSE = Dataset(kind="a MOSE root", matches=_matches, names=_names, video=_video)
