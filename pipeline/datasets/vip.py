"""VIP, Video Instance-level Parsing (Zhou et al., ACM MM 2018): parts of people, as classes.

Images/<video>/*.jpg, Annotations/Category_ids/<video>/*.png, lists/<set>_videos.txt. As in the label propagation of
TimeCycle, UVC and CRW, the classes of the first frame are followed; instances are not told apart.
"""

from pathlib import Path, PurePosixPath

from ...extract.frames import ImageFrames
from ...store.errors import ConfigError, FrameError
from .listing import is_plain_name, list_files, list_images, list_masks, read_lines
from .video import AnnotatedMask, Video

__all__ = ["is_vip_root", "vip_video", "vip_videos"]


def is_vip_root(root: Path) -> bool:
    """Whether a folder looks like the annotated part of VIP (``VIP_Fine``)."""
    return (root / "Images").is_dir() and (root / "Annotations" / "Category_ids").is_dir()


def vip_videos(root: Path, set_name: str = "val") -> tuple[str, ...]:
    """Names of the videos in a set, in the order of its list; of a line that is a path, the last part.

    Raises
    ------
    ConfigError
        When there is no such list, it is empty, or a line is not the name of a folder.
    """
    folder = root / "lists"
    path = folder / f"{set_name}_videos.txt"
    if not is_plain_name(set_name) or not path.is_file():
        known = ", ".join(path.stem.removesuffix("_videos") for path in list_files(folder, "_videos.txt")) or "none"
        raise ConfigError(f"no set {set_name!r} in {folder} (there: {known})")
    names: dict[str, None] = {}
    for number, line in read_lines(path):
        name = PurePosixPath(line).name
        if not is_plain_name(name):
            raise ConfigError(f"line {number} of {path} is not the name of a video: {line!r}")
        names[name] = None
    return tuple(names)


def vip_video(root: Path, name: str) -> Video:
    """Open one video.

    Raises
    ------
    FrameError
        When its folder is missing or has no frames.
    """
    folder = root / "Images" / name
    if not folder.is_dir():
        raise FrameError(f"video {name!r} has no folder {folder}; check the root and the set list")
    images = list_images(folder)
    if not images:
        raise FrameError(f"video {name!r} has no frames: no images in {folder}")
    masks = list_masks(root / "Annotations" / "Category_ids" / name)
    first = images[0].stem
    return Video(
        dataset="vip",
        name=name,
        frames=ImageFrames(images),
        annotated_masks={first: AnnotatedMask(path=masks[first])} if first in masks else {},
        frame_masks={image.stem: masks[image.stem] for image in images if image.stem in masks},
        tasks=("parts", "boxes"),
    )
