"""Frames that are in a video file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..store.errors import FrameError
from .truncation import video_is_truncated

__all__ = ["VIDEO_SUFFIXES", "VideoFrames"]

#: File name endings, in lower case, that count as video files.
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})


class VideoFrames:
    """A video file, decoded in sequence by OpenCV, which also applies the rotation that the file states.

    Reading forward goes on from where the last frame was; reading backward starts again at the beginning, because
    seeking is inexact in many files. Frames are counted by going through the file, on first need: headers may be wrong.
    Nothing is opened before that. One frame, the last one read, is kept. Not for use by several threads at once.

    Parameters
    ----------
    path
        The file.
    at_most
        Look no further than this many frames, so that the beginning of a long file can be used without counting all
        of it.

    Raises
    ------
    FrameError
        When the file does not exist. The methods raise it for one that cannot be opened, is truncated or has no frame.
    """

    def __init__(self, path: Path, *, at_most: int | None = None) -> None:
        if not path.is_file():
            raise FrameError(f"there is no video file {path}")
        self._path = path
        self._at_most = at_most
        self._count: int | None = None
        self._size: tuple[int, int] | None = None
        self._file_hash: str | None = None
        self._state: tuple[int, int, int] | None = None  # of the file, when it was hashed
        self._capture: cv2.VideoCapture | None = None
        self._position = 0  # frames grabbed from the open capture
        self._last: npt.NDArray[np.uint8] | None = None  # the frame before that position

    def __getstate__(self) -> dict[str, Any]:
        # An open decoder cannot go to another process; a copy opens its own.
        return self.__dict__ | {"_capture": None, "_position": 0, "_last": None}

    @property
    def names(self) -> tuple[str, ...]:
        """The frames' numbers, from 00000."""
        return tuple(f"{index:05d}" for index in range(len(self)))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames, as displayed."""
        if self._size is None:
            frame = self.read(0)
            return (frame.shape[0], frame.shape[1])
        return self._size

    def __len__(self) -> int:
        if self._count is None:
            capture = self._open()
            count = 0
            while (self._at_most is None or count < self._at_most) and capture.grab():
                count += 1
            capture.release()
            if not count:
                raise FrameError(f"video {self._path} has no frame that can be read")
            self._count = count
        return self._count

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), RGB."""
        if index < 0 or (self._at_most is not None and index >= self._at_most):
            raise IndexError(index)
        if self._last is not None and index == self._position - 1:
            return self._last.copy()
        if self._capture is None or index < self._position:
            self.close()
            self._capture = self._open()
        if self._state is not None and _state(self._path) != self._state:
            raise FrameError(f"video {self._path} has changed since it was looked at first; run the same command again")
        while self._position <= index:
            if not self._capture.grab():
                raise FrameError(f"video {self._path} ends after {self._position} frames; frame {index} was asked for")
            self._position += 1
        readable, image = self._capture.retrieve()
        if not readable or image is None:
            raise FrameError(f"frame {index} of video {self._path} cannot be decoded")
        size = (image.shape[0], image.shape[1])
        if size != (self._size or size):
            raise FrameError(f"video {self._path} changes its size at frame {index}: split it into videos of one size")
        self._size = size
        self._last = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return self._last.copy()

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Hash the file's bytes and the choice of frames, whatever the file is called and wherever it lies.

        Parameters
        ----------
        indices
            Frames to cover; all of them by default.

        Returns
        -------
        str
            SHA-256 in hexadecimal.
        """
        if self._file_hash is None:
            self._open().release()
            state = _state(self._path)
            with self._path.open("rb") as file:
                self._file_hash = hashlib.file_digest(file, "sha256").hexdigest()
            self._state = state
        chosen = ",".join(map(str, range(len(self)) if indices is None else indices))
        return hashlib.sha256(f"ted video file\n{self._file_hash}\n{chosen}\n".encode()).hexdigest()

    def close(self) -> None:
        """Release the decoder; the next read opens the file again."""
        if self._capture is not None:
            self._capture.release()
        self._capture, self._position, self._last = None, 0, None

    def _open(self) -> cv2.VideoCapture:
        try:
            if not self._path.stat().st_size:
                raise FrameError(f"video {self._path} is empty")
            truncated = video_is_truncated(self._path)
        except OSError as error:
            raise FrameError(f"cannot read video {self._path}: {error.strerror}") from error
        if truncated:
            raise FrameError(f"video {self._path} is truncated: the file ends before the video does; copy it again")
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise FrameError(f"cannot open video {self._path}: damaged, or in a format that OpenCV cannot decode")
        return capture


def _state(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written to or replaced: inode, size and time of modification."""
    try:
        status = path.stat()
    except OSError as error:
        raise FrameError(f"cannot read video {path}: {error.strerror}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns
