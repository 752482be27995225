"""TAP-Vid: a pickle with ``{video, points, occluded}`` for each video."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...extract.image_files import check_size, numbered
from ...store.errors import ConfigError, FrameError, LabelError
from ..choices.hints import plural
from .listing import is_plain_name
from .numpy_pickle import read_numpy_pickle
from .point_queries import Tracks, TrackSource
from .video import Dataset, Video

_KEYS = ("video", "points", "occluded")

#: Distance, as a share of the frame, by which a visible point may lie outside the frame because of rounding.
_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class TrackFile:
    """The true tracks of a video in a pickle."""

    path: Path  # the pickle
    name: str  # name of the video, as `tapvid_names` gives it

    def read(self, names: Sequence[str], size: tuple[int, int]) -> Tracks:
        """Return the tracks through some frames; see `TrackSource`. Points in the file are shares of the frame's size.

        Raises LabelError if points are not (track, frame, 2), occluded not (track, frame), or visible points lie
        outside the frame.
        """
        clip = _videos(self.path)[self.name]
        count = len(clip["video"])
        try:
            points, occluded = (np.asarray(clip[key]) for key in _KEYS[1:])
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise LabelError(f"points or occluded of video {self.name!r} in {self.path} are not arrays") from error
        if (
            points.ndim != 3
            or points.shape[1:] != (count, 2)
            or occluded.shape != points.shape[:2]
            or points.dtype.kind not in "fiu"
            or occluded.dtype.kind not in "biuf"
        ):
            raise LabelError(
                f"video {self.name!r} in {self.path} has {plural(count, 'frame')}: points must be (track, {count}, 2) "
                f"and occluded (track, {count}); found: {points.dtype} {points.shape} and {occluded.dtype} "
                f"{occluded.shape}"
            )
        index = [int(name) for name in names]
        hidden = occluded[:, index].astype(bool)
        xy = points[:, index].astype(np.float64) * (size[1], size[0])
        seen = points[:, index][~hidden]
        if not np.isfinite(seen).all():
            raise LabelError(
                f"video {self.name!r} in {self.path} has visible points at coordinates that are not finite"
            )
        if ((seen < -_MARGIN) | (seen > 1 + _MARGIN)).any():
            raise LabelError(
                f"video {self.name!r} in {self.path} has visible points from {seen.min():g} to {seen.max():g}: points "
                "of TAP-Vid are shares of the width and height, 0 to 1; divide pixels by them"
            )
        return Tracks(xy=xy, occluded=hidden)


@dataclass(frozen=True, kw_only=True)
class TrackVideo(Video):
    """A video with point tracks."""

    tracks: TrackSource  # the true tracks, which queries are chosen from
    tasks: tuple[str, ...] = ("points",)


class TapVidFrames:
    """Frames of a video in a pickle: an array (frame, height, width, 3), uint8, or a list of encoded images.

    Raises FrameError for anything else; the methods raise it if an image cannot be decoded or differs in size from the
    first.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        video = self._video
        if isinstance(video, np.ndarray):
            usable = video.ndim == 4 and video.shape[3] == 3 and video.dtype == np.uint8 and video.size > 0
        else:
            usable = isinstance(video, Sequence) and len(video) > 0 and all(isinstance(item, bytes) for item in video)
        if not usable:
            found = f"{video.dtype} of shape {video.shape}" if isinstance(video, np.ndarray) else type(video).__name__
            raise FrameError(
                f"the frames of video {name!r} in {path} must be (frame, height, width, 3), uint8, or a list of "
                f"encoded images, at least one; found: {found}"
            )

    @property
    def _video(self) -> Any:
        return _videos(self._path)[self._name]["video"]

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of the frames, from ``"00000"``."""
        return numbered(len(self))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        first = self._frame(0)
        return first.shape[0], first.shape[1]

    def __len__(self) -> int:
        return len(self._video)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one frame: (height, width, 3), RGB."""
        frame = self._frame(index)
        check_size(f"frame {index} of video {self._name!r} in {self._path}", frame.shape[:2], self.size)
        return frame

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Hash (SHA-256) the stored bytes of some frames, all by default, in order; for arrays, their size too."""
        video = self._video
        whole = hashlib.sha256(b"ted arrays\n" if isinstance(video, np.ndarray) else b"ted encoded frames\n")
        if isinstance(video, np.ndarray):
            whole.update(f"{video.shape[1]} {video.shape[2]}\n".encode())
        for index in range(len(video)) if indices is None else indices:
            item = video[index]
            data = item.tobytes() if isinstance(item, np.ndarray) else item
            whole.update(f"{hashlib.sha256(data).hexdigest()}\n".encode())
        return whole.hexdigest()

    def _frame(self, index: int) -> npt.NDArray[np.uint8]:
        item = self._video[index]
        if isinstance(item, np.ndarray):
            return np.ascontiguousarray(item)
        try:
            with Image.open(io.BytesIO(item)) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise FrameError(f"cannot decode frame {index} of video {self._name!r} in {self._path}: {error}") from error


def _videos(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        about = path.stat()
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}") from error
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int, _bytes: int) -> Mapping[str, Mapping[str, Any]]:
    """Return the videos of a pickle: by key, or by the file's name and a number if it holds a list.

    The file, which may have gigabytes, is read once for all its videos, and stays in memory until another one is read.
    """
    content = read_numpy_pickle(path)
    if isinstance(content, list):
        content = {f"{path.stem}_{number:05d}": item for number, item in enumerate(content)}
    if not isinstance(content, dict) or not content:
        raise LabelError(f"{path} must hold a dict or a list of videos, at least one, not {type(content).__name__}")
    for name, item in content.items():
        if not isinstance(name, str) or not is_plain_name(name):
            raise ConfigError(f"{path} has a video named {name!r}, which cannot be the name of a folder")
        if not isinstance(item, dict) or not all(key in item for key in _KEYS):
            raise LabelError(f"video {name!r} in {path} must be a dict with {', '.join(_KEYS)}")
    return content


TAPVID = Dataset(
    kind="a pickle of TAP-Vid",
    matches=lambda path: path.is_file() and path.suffix.lower() in {".pkl", ".pickle"},
    names=lambda source: tuple(_videos(source.path)),
    video=lambda source, name: TrackVideo(
        dataset="tapvid",
        name=name,
        frames=TapVidFrames(source.path, name),
        tracks=TrackFile(path=source.path, name=name),
    ),
)
