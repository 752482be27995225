"""VIP, Video Instance-level Parsing (Zhou et al., ACM MM 2018): parts of people, as classes.

Images/<video>/*.jpg, Annotations/Category_ids/<video>/*.png, lists/<set>_videos.txt. As in the label propagation of
TimeCycle, UVC and CRW, the classes of the first frame are tracked, not single persons.
"""

from pathlib import Path, PurePosixPath

from ...store.errors import ConfigError
from .listing import is_plain_name, list_files, list_masks, read_lines
from .video import Video, image_video

__all__ = ["is_vip_root", "vip_video", "vip_videos"]


def is_vip_root(root: Path) -> bool:
    """Return whether a folder looks like the annotated part of VIP (``VIP_Fine``)."""
    return (root / "Images").is_dir() and (root / "Annotations" / "Category_ids").is_dir()


def vip_videos(root: Path, set_name: str = "val") -> tuple[str, ...]:
    """Return the names of the videos in a set, in the order of its list. A line may be a path, whose last part counts.

    Raises
    ------
    ConfigError
        If there is no such list, it is empty, or a line is not the name of a folder.
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
    """Open one video; raises FrameError if its folder is missing or has no frames."""
    masks = list_masks(root / "Annotations" / "Category_ids" / name)
    return image_video("vip", name, root / "Images" / name, masks, tasks=("parts", "boxes"))
