"""JHMDB: Rename_Images/<class>/<clip>/00001.png, joint_positions/<class>/<clip>, splits/<class>_test_split1.txt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...extract.frames import ImageFrames
from ...store.errors import ConfigError, FrameError, LabelError
from ..choices.hints import plural
from .listing import is_plain_name, list_files, list_images, read_lines
from .video import Video

__all__ = ["JOINTS", "JointFile", "JointVideo", "is_jhmdb_root", "jhmdb_clips", "jhmdb_video", "joint_names"]

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

_TEST = "2"  # in the lists, 1 is training and 0 is neither


@dataclass(frozen=True, kw_only=True)
class JointFile:
    """The joints of a clip in a MATLAB file; the file is read on request.

    Attributes
    ----------
    path
        A file with ``pos_img``, (2, joint, frame): x and y in pixels counted from 1.
    frame_names
        Names of the clip's frames. The file may have joints of the first ones only.
    """

    path: Path
    frame_names: tuple[str, ...]

    def read(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the joints of some frames: (2, joint, frame), x and y in pixels counted from 0.

        Joints may lie outside the frame. Frames without joints in the file are left out.

        Parameters
        ----------
        names
            Names of frames, in order; the file must have joints of the first.

        Raises
        ------
        LabelError
            If the file cannot be read, has no such array, or no joints of the first frame.
        """
        positions = _read_positions(self.path)
        index = {name: at for at, name in enumerate(self.frame_names[: positions.shape[2]])}
        if names[0] not in index:
            raise LabelError(
                f"{self.path} has joints for {plural(positions.shape[2], 'frame')}, but not for frame {names[0]}"
            )
        return positions[:, :, [index[name] for name in names if name in index]] - 1


@dataclass(frozen=True, kw_only=True)
class JointVideo(Video):
    """A video of a person.

    Attributes
    ----------
    joints
        The true joints. Propagation starts from those of the first frame.
    """

    joints: JointFile
    tasks: tuple[str, ...] = ("joints",)


def joint_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` joints: those of JHMDB if there are 15 of them, else numbers."""
    return JOINTS if count == len(JOINTS) else tuple(f"joint {number}" for number in range(1, count + 1))


def is_jhmdb_root(root: Path) -> bool:
    """Return whether a folder looks like a JHMDB root."""
    return (root / "Rename_Images").is_dir() and (root / "joint_positions").is_dir()


def jhmdb_clips(root: Path, split: str = "split1") -> dict[str, str]:
    """Return the class of each test clip of a split, by the clip's name, in the order of the lists.

    Parameters
    ----------
    root
        JHMDB root.
    split
        ``"split1"``, ``"split2"`` or ``"split3"``: the end of the lists' names.

    Raises
    ------
    ConfigError
        If there are no such lists or they name no test clip, a line is wrong, or two clips have the same name.
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
        The split in which the clip is a test clip.

    Raises
    ------
    ConfigError
        As `jhmdb_clips`.
    FrameError
        If its folder is missing or has no frames.
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


def _read_positions(path: Path) -> npt.NDArray[np.float64]:
    from scipy.io import loadmat  # only here: it takes a quarter of a second to import

    if not path.is_file():
        raise LabelError(f"there are no joints: {path} does not exist")
    try:
        content = loadmat(path, variable_names=["pos_img"], appendmat=False)
    except Exception as error:  # the type depends on where the file is damaged
        raise LabelError(f"cannot read joints from {path}: {str(error) or type(error).__name__}") from error
    positions = content.get("pos_img")
    if positions is not None and positions.ndim == 2:  # MATLAB drops a last axis of one frame
        positions = positions[:, :, None]
    if positions is None or positions.ndim != 3 or positions.dtype.kind not in "iuf" or positions.shape[0] != 2:
        found = "none" if positions is None else f"{positions.dtype} of shape {positions.shape}"
        raise LabelError(f"{path} must hold pos_img, numbers of shape (2, joint, frame); found: {found}")
    if not positions.size or not np.isfinite(positions).all():
        raise LabelError(f"{path}: pos_img is empty, or holds values that are not finite")
    return np.asarray(positions, dtype=np.float64)
