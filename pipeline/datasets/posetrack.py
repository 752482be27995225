"""PoseTrack21 and PoseTrack18: images/<set>/<sequence>/000000.jpg, posetrack_data/<set>/<sequence>.json.

The files of PoseTrack18 are in ``annotations/<set>``. Each person has 17 joints and a ``track_id``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError, LabelError
from .jhmdb import POSE_JOINTS, JointVideo
from .listing import is_plain_name, list_files
from .video import Dataset, Source, image_video

_FOLDERS = ("posetrack_data", "annotations")

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PoseFile:
    """The joints of the people of a sequence in a JSON file; the file is read on request."""

    path: Path
    frame_names: tuple[str, ...]  # names of the sequence's frames

    def read(self, names: Sequence[str]) -> _Array:
        """Return the joints of all people in some frames: (2, person * 17, frame), NaN where they are not labelled.

        Raises LabelError if the file cannot be read, has an annotation that is wrong, or labels no joint.
        """
        xy = self._people()[1]
        return xy[:, :, :, [self.frame_names.index(name) for name in names]].reshape(2, -1, len(names))

    def first(self, names: Sequence[str]) -> dict[int, _Array]:
        """Return each joint's coordinates in the first of some frames that labels it; see `JointSource`."""
        xy = self.read(names)
        known = np.isfinite(xy[0])  # (joint, frame)
        if not known.any():
            raise LabelError(f"{self.path} labels no joint in the selected frames")
        begin = np.where(known.any(1), known.argmax(1), -1)
        frames = (int(frame) for frame in np.unique(begin[begin >= 0]))
        return {frame: np.where(begin[:, None] == frame, xy[:, :, frame].T, np.nan) for frame in frames}

    def labels(self, count: int) -> tuple[str, ...]:
        """Return the names of all joints, such as ``3 left knee`` of the person with track_id 3."""
        return tuple(f"{person} {joint}" for person in self._people()[0] for joint in POSE_JOINTS)

    def _people(self) -> tuple[tuple[int, ...], _Array]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise LabelError(f"cannot read {self.path}: {error.strerror}") from error
        return _parsed(self.path, self.frame_names, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _parsed(path: Path, names: tuple[str, ...], _changed: int) -> tuple[tuple[int, ...], _Array]:
    """Return the track ids of people, rising, and their joints, (2, person, 17, frame), NaN where not labelled."""
    try:
        content = json.loads(path.read_bytes())
        images, people = content["images"], content["annotations"]
        frame_of = {image["id"]: PurePosixPath(image["file_name"]).stem for image in images}
        if not isinstance(people, list) or len(frame_of) < len(images):
            raise ValueError("annotations are no list, or two images have one id")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LabelError(f"{path} is no JSON file of PoseTrack, with images and annotations: {error!r}") from error
    index = {name: at for at, name in enumerate(names)}
    found: dict[tuple[int, str], _Array] = {}
    for number, person in enumerate(people):
        try:
            found.update([_person(person, frame_of, index, found)])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise LabelError(f"annotation {number} of {path} {reason}") from error
    ids = tuple(sorted({track for track, _ in found}))
    xy = np.full((2, len(ids), len(POSE_JOINTS), len(names)), np.nan)
    for (track, frame), joints in found.items():
        xy[:, ids.index(track), :, index[frame]] = joints.T
    return ids, xy


def _person(
    person: Mapping[str, Any], frame_of: Mapping[int, str], index: Mapping[str, int], others: Mapping[Any, Any]
) -> tuple[tuple[int, str], _Array]:
    """Return a person's track id, frame and joints, (17, 2), NaN where not labelled; raises ValueError if wrong."""
    track, frame = person["track_id"], frame_of.get(person["image_id"])
    if isinstance(track, bool) or not isinstance(track, int) or track < 0:
        raise ValueError(f"has the track_id {str(track)[:40]}, which is no whole number from 0")
    if frame is None or frame not in index:
        raise ValueError(f"has the image_id {str(person['image_id'])[:40]}, which is no image of this sequence")
    if (track, frame) in others:
        raise ValueError(f"has the track_id {track} a second time in frame {frame}")
    values = [float(value) for value in person.get("keypoints") or [0] * 51]
    if len(values) != 3 * len(POSE_JOINTS):
        raise ValueError(f"has {len(values)} keypoints, not x, y and visibility of {len(POSE_JOINTS)} joints")
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise ValueError("has keypoints that are not finite")
    joints = np.array(values).reshape(-1, 3)
    return (track, frame), np.where(joints[:, 2:] > 0, joints[:, :2], np.nan)


def _files(source: Source) -> list[Path]:
    split = source.set_or("val")
    folders = (source.path / name / split for name in _FOLDERS) if is_plain_name(split) else ()
    return next((files for folder in folders if (files := list_files(folder, ".json"))), [])


def _names(source: Source) -> tuple[str, ...]:
    names = tuple(path.stem for path in _files(source))
    if not names:
        raise ConfigError(f"{source.path} has no annotations in posetrack_data/{source.set_or('val')}")
    return names


def _video(source: Source, name: str) -> JointVideo:
    path = next(path for path in _files(source) if path.stem == name)
    video = image_video("posetrack", name, source.path / "images" / source.set_or("val") / name, {})
    joints = PoseFile(path=path, frame_names=video.frames.names)
    return JointVideo(
        dataset=video.dataset, name=name, frames=video.frames, joints=joints, joints_per_person=len(POSE_JOINTS)
    )


POSETRACK = Dataset(
    kind="a PoseTrack root",
    matches=lambda root: (root / "images").is_dir() and any(any((root / name).glob("*/*.json")) for name in _FOLDERS),
    names=_names,
    video=_video,
)
