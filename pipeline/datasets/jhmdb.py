"""JHMDB: Rename_Images/<class>/<clip>/00001.png, joint_positions/<class>/<clip>, splits/<class>_test_split1.txt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, LabelError
from ..choices.hints import plural
from .listing import is_plain_name, list_files, read_lines
from .video import Dataset, Source, Video, image_video

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

#: The joints of a person in PoseTrack, in the order of its files; ears are never labelled.
POSE_JOINTS = (
    *("nose", "head bottom", "head top", "left ear", "right ear", "left shoulder", "right shoulder"),
    *("left elbow", "right elbow", "left wrist", "right wrist", "left hip", "right hip"),
    *("left knee", "right knee", "left ankle", "right ankle"),
)

_TEST = "2"  # in the lists, 1 is training and 0 is neither


class JointSource(Protocol):
    """Source of the true joints of a video."""

    def read(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the joints of the frames of these names, (2, joint, frame), NaN where they are not labelled.

        Frames at the end may be left out. Raises LabelError if they cannot be read.
        """

    def first(self, names: Sequence[str]) -> dict[int, npt.NDArray[np.float64]]:
        """Return the annotations by index of the frame: (joint, 2), NaN where a joint is not annotated."""

    def labels(self, count: int) -> tuple[str, ...]:
        """Return the names of `count` joints."""


@dataclass(frozen=True, kw_only=True)
class JointFile:
    """The joints of a clip in a MATLAB file; the file is read on request."""

    path: Path  # A file with ``pos_img``, (2, joint, frame): x and y in pixels counted from 1
    frame_names: tuple[str, ...]  # names of the clip's frames. The file may have joints of the first ones only.

    def read(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the joints of some frames: (2, joint, frame), x and y in pixels counted from 0.

        Joints may lie outside the frame. Frames without joints in the file are left out. Raises LabelError if the file
        cannot be read, has no such array, or no joints of the first of these frames.
        """
        positions = _read_positions(self.path)
        index = {name: at for at, name in enumerate(self.frame_names[: positions.shape[2]])}
        if names[0] not in index:
            raise LabelError(
                f"{self.path} has joints for {plural(positions.shape[2], 'frame')}, but not for frame {names[0]}"
            )
        return positions[:, :, [index[name] for name in names if name in index]] - 1

    def first(self, names: Sequence[str]) -> dict[int, npt.NDArray[np.float64]]:
        """Return the joints of the first frame; see `JointSource`."""
        return {0: self.read(names[:1])[:, :, 0].T}

    def labels(self, count: int) -> tuple[str, ...]:
        """Return the names of the joints; see `joint_names`."""
        return joint_names(count)


@dataclass(frozen=True, kw_only=True)
class JointVideo(Video):
    """A video of a person, or of several, whose joints come one person after the other."""

    joints: JointSource  # the true joints. Propagation starts from each joint's first annotation.
    joints_per_person: int | None = None  # None for one person
    tasks: tuple[str, ...] = ("joints",)


def joint_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` joints: those of JHMDB for 15 of them, of PoseTrack for 17, else numbers."""
    known = {len(joints): joints for joints in (JOINTS, POSE_JOINTS)}
    return known.get(count, tuple(f"joint {number}" for number in range(1, count + 1)))


def _classes(source: Source) -> dict[str, str]:
    """Return the class of each test clip of a split, by the clip's name, in the order of the lists.

    Raises ConfigError if there are no such lists or they name no test clip, a line is wrong, or two clips have the same
    name.
    """
    folder, split = source.path / "splits", source.set_or("split1")
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


def _video(source: Source, clip: str) -> JointVideo:
    where = Path(_classes(source)[clip], clip)
    video = image_video("jhmdb", clip, source.path / "Rename_Images" / where, {})
    path = source.path / "joint_positions" / where / "joint_positions.mat"
    joints = JointFile(path=path, frame_names=video.frames.names)
    return JointVideo(dataset=video.dataset, name=clip, frames=video.frames, joints=joints)


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


JHMDB = Dataset(
    kind="a JHMDB root",
    matches=lambda root: (root / "Rename_Images").is_dir() and (root / "joint_positions").is_dir(),
    names=lambda source: tuple(_classes(source)),
    video=_video,
)
