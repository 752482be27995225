"""DAVIS-2017: JPEGImages/480p/<sequence>, Annotations/480p/<sequence>, ImageSets/2017/<set>.txt."""

from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import ConfigError, FrameError
from .listing import is_plain_name, list_images, list_masks, read_names
from .video import GivenMask, Video

__all__ = ["davis_sequences", "davis_video", "is_davis_root"]


def is_davis_root(root: Path) -> bool:
    """Whether a folder looks like a DAVIS root."""
    return (root / "JPEGImages").is_dir()


def davis_sequences(root: Path, set_name: str = "val") -> tuple[str, ...]:
    """Names of the sequences in a set, in the order of its list.

    Parameters
    ----------
    root
        DAVIS root.
    set_name
        Name of the list in ``ImageSets/2017``, without ``.txt``.

    Raises
    ------
    ConfigError
        When there is no such list, it is empty, or a line is not the name of a folder.
    """
    folder = root / "ImageSets" / "2017"
    path = folder / f"{set_name}.txt"
    if not is_plain_name(set_name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "none"
        raise ConfigError(f"no set {set_name!r} in {folder} (there: {known})")
    return read_names(path, "sequence")


def davis_video(root: Path, sequence: str, resolution: str = "480p") -> Video:
    """Open one sequence.

    Parameters
    ----------
    root
        DAVIS root.
    sequence
        Name of the sequence's folder.
    resolution
        Folder between ``JPEGImages`` and the sequences: ``"480p"`` or ``"Full-Resolution"``.

    Raises
    ------
    FrameError
        When its folder is missing or has no frames.
    """
    folder = root / "JPEGImages" / resolution / sequence
    if not folder.is_dir():
        raise FrameError(
            f"sequence {sequence!r} has no folder {folder}; check the root, the resolution and the set list"
        )
    images = list_images(folder)
    if not images:
        raise FrameError(f"sequence {sequence!r} has no frames: no images in {folder}")
    masks = list_masks(root / "Annotations" / resolution / sequence)
    first = images[0].stem
    return Video(
        dataset="davis",
        name=sequence,
        frames=ImageFrames(images),
        given={first: GivenMask(path=masks[first])} if first in masks else {},
        frame_masks={image.stem: masks[image.stem] for image in images if image.stem in masks},
    )
