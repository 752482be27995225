"""DAVIS-2017 and DAVIS-2016: JPEGImages/480p/<sequence>, Annotations/480p/<sequence>, and lists of sequences.

The lists are ``ImageSets/2017/<set>.txt`` or ``ImageSets/2016/<set>.txt`` (names), or ``ImageSets/480p/<set>.txt``
(DAVIS-2016: the paths of each frame and its mask).
"""

from pathlib import Path, PurePosixPath

from ...store.errors import ConfigError
from .listing import is_plain_name, list_files, list_masks, read_lines, read_names
from .video import Dataset, Video, image_video


def davis_sequences(root: Path, set_name: str = "val", resolution: str = "480p") -> tuple[str, ...]:
    """Return the names of the sequences in a set, in the order of its list.

    The list is the first ``<set_name>.txt`` in ``ImageSets/2017``, ``2016`` and ``<resolution>``. Raises ConfigError if
    there is no such list, it is empty, or a line is not the name of a sequence or the path of a frame.
    """
    folders = [root / "ImageSets" / name for name in ("2017", "2016", resolution)]
    folder = next((folder for folder in folders if (folder / f"{set_name}.txt").is_file()), None)
    if not is_plain_name(set_name) or folder is None:
        known = sorted({path.stem for folder in folders for path in list_files(folder, ".txt")})
        raise ConfigError(f"no set {set_name!r} in {folders[0]} (there: {', '.join(known) or 'none'})")
    path = folder / f"{set_name}.txt"
    if folder is not folders[-1]:
        return read_names(path, "sequence")
    names: dict[str, None] = {}
    for number, line in read_lines(path):
        name = PurePosixPath(line.split()[0]).parent.name
        if not is_plain_name(name):
            raise ConfigError(
                f"line {number} of {path} must have the paths of a frame and its mask, such as "
                f"/JPEGImages/{resolution}/bear/00000.jpg /Annotations/{resolution}/bear/00000.png"
            )
        names[name] = None
    return tuple(names)


def davis_video(root: Path, sequence: str, resolution: str = "480p") -> Video:
    """Open one sequence; raises FrameError if its folder is missing or has no frames.

    `resolution` is the folder above the sequences: ``"480p"``, ``"1080p"`` or ``"Full-Resolution"``.
    """
    masks = list_masks(root / "Annotations" / resolution / sequence)
    return image_video("davis", sequence, root / "JPEGImages" / resolution / sequence, masks)


DAVIS = Dataset(
    kind="a DAVIS root",
    matches=lambda root: (root / "JPEGImages").is_dir(),
    names=lambda source: davis_sequences(source.path, source.set_or("val"), source.resolution),
    video=lambda source, name: davis_video(source.path, name, source.resolution),
)
