"""VIP, Video Instance-level Parsing (Zhou et al., ACM MM 2018): parts of people, as classes.

Images/<video>/*.jpg, Annotations/Category_ids/<video>/*.png, lists/<set>_videos.txt. As in the label propagation of
TimeCycle, UVC and CRW, the classes of the first frame are tracked, not single persons.
"""

from pathlib import Path, PurePosixPath

from ...store.errors import ConfigError
from .listing import is_plain_name, list_files, list_masks, read_names
from .video import Dataset, Source, Video, image_video


def _matches(root: Path) -> bool:
    return (root / "Images").is_dir() and (root / "Annotations" / "Category_ids").is_dir()


def _names(source: Source) -> tuple[str, ...]:
    """Return the names of the videos in a set, in the order of its list. A line may be a path, whose last part counts.

    Raises ConfigError if there is no such list, it is empty, or a line is not the name of a folder.
    """
    folder, set_name = source.path / "lists", source.set_or("val")
    path = folder / f"{set_name}_videos.txt"
    if not is_plain_name(set_name) or not path.is_file():
        known = ", ".join(path.stem.removesuffix("_videos") for path in list_files(folder, "_videos.txt")) or "none"
        raise ConfigError(f"no set {set_name!r} in {folder} (there: {known})")
    return read_names(path, name=lambda line: PurePosixPath(line).name)


def _video(source: Source, name: str) -> Video:
    masks = list_masks(source.path / "Annotations" / "Category_ids" / name)
    return image_video("vip", name, source.path / "Images" / name, masks, tasks=("parts", "boxes"))


VIP = Dataset(kind="a VIP root", matches=_matches, names=_names, video=_video)
