"""JHMDB: Rename_Images/<class>/<clip>/00001.png, joint_positions/<class>/<clip>, splits/<class>_test_split1.txt."""

from dataclasses import dataclass
from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import ConfigError, FrameError
from .joint_file import JointFile
from .listing import is_plain_name, list_files, list_images, read_lines
from .video import Video

__all__ = ["JOINTS", "JointVideo", "is_jhmdb_root", "jhmdb_clips", "jhmdb_video", "joint_names"]

#: The joints, in the order of the files.
JOINTS = (
    "neck",
    "belly",
    "face",
    "right shoulder",
    "left shoulder",
    "right hip",
    "left hip",
    "right elbow",
    "left elbow",
    "right knee",
    "left knee",
    "right wrist",
    "left wrist",
    "right ankle",
    "left ankle",
)

_TEST = "2"  # in the lists: 1 is training, 0 neither


@dataclass(frozen=True, kw_only=True)
class JointVideo(Video):
    """A video of a person.

    Attributes
    ----------
    joints
        The true joints. Those of the first frame are what propagation starts from.
    """

    joints: JointFile
    tasks: tuple[str, ...] = ("joints",)


def joint_names(count: int) -> tuple[str, ...]:
    """Return the names of so many joints: numbers, if they are not those of JHMDB."""
    return JOINTS if count == len(JOINTS) else tuple(f"joint {number}" for number in range(1, count + 1))


def is_jhmdb_root(root: Path) -> bool:
    """Whether a folder looks like a JHMDB root."""
    return (root / "Rename_Images").is_dir() and (root / "joint_positions").is_dir()


def jhmdb_clips(root: Path, split: str = "split1") -> dict[str, str]:
    """Return the test clips of a split, in the order of the lists, and the class of each.

    Parameters
    ----------
    root
        JHMDB root.
    split
        ``"split1"``, ``"split2"`` or ``"split3"``: the end of the lists' names.

    Raises
    ------
    ConfigError
        When there are no such lists or they name no test clip, a line makes no sense, or two clips have the same name.
    """
    folder = root / "splits"
    suffix = f"_test_{split}.txt"
    lists = list_files(folder, suffix) if is_plain_name(split) else []
    if not lists:
        known = sorted({path.stem.rpartition("_test_")[2] for path in list_files(folder, ".txt")})
        raise ConfigError(f"no lists *{suffix} in {folder} (sets there: {', '.join(known) or 'none'})")
    classes: dict[str, str] = {}
    for path in lists:
        name = path.name.removesuffix(suffix)
        for clip in _test_clips(path):
            if clip in classes:
                raise ConfigError(f"clip {clip!r} is listed twice: for {classes[clip]!r} and in {path}")
            classes[clip] = name
    if not classes:
        raise ConfigError(f"the lists *{suffix} in {folder} name no test clip (a line such as 'clip.avi 2')")
    return classes


def jhmdb_video(root: Path, clip: str, split: str = "split1") -> JointVideo:
    """Open one clip.

    Parameters
    ----------
    root
        JHMDB root.
    clip
        Name of the clip's folder.
    split
        The split that it is a test clip of.

    Raises
    ------
    ConfigError
        As `jhmdb_clips`.
    FrameError
        When its folder is missing or has no frames.
    """
    where = Path(jhmdb_clips(root, split)[clip], clip)
    folder = root / "Rename_Images" / where
    if not folder.is_dir():
        raise FrameError(f"clip {clip!r} has no folder {folder}; check the root and the lists in {root / 'splits'}")
    images = list_images(folder)
    if not images:
        raise FrameError(f"clip {clip!r} has no frames: no images in {folder}")
    path = root / "joint_positions" / where / "joint_positions.mat"
    joints = JointFile(path=path, frame_names=tuple(image.stem for image in images))
    return JointVideo(dataset="jhmdb", name=clip, frames=ImageFrames(images), joints=joints)


def _test_clips(path: Path) -> list[str]:
    clips = []
    for number, line in read_lines(path):
        file, _, part = line.rpartition(" ")
        clip = file.strip().removesuffix(".avi")
        if not is_plain_name(clip):
            raise ConfigError(f"line {number} of {path} is not the name of a clip and its part, such as 'clip.avi 2'")
        if part == _TEST:
            clips.append(clip)
    return clips
