"""Frames of a video: one interface for image files and video files, and selections of frames."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..store.errors import ConfigError, FrameError
from .frame_size import FrameSize, processed_size, to_pixels
from .image_files import IMAGE_SUFFIXES, PAGE_SUFFIXES, ImageFrames, PageFrames
from .video_files import VIDEO_SUFFIXES, VideoFrames

__all__ = [
    "IMAGE_SUFFIXES",
    "PAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "FrameSize",
    "FrameSource",
    "ImageFrames",
    "PageFrames",
    "SelectedFrames",
    "UnreadableFrames",
    "VideoFrames",
    "processed_size",
    "to_pixels",
]


class FrameSource(Protocol):
    """Frames of one video, read on demand, so that memory does not grow with the video."""

    @property
    def names(self) -> tuple[str, ...]:
        """Unique names of the frames, for example ``"00000"``."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), uint8, RGB."""

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Return the SHA-256 of the encoded frames in order (all by default), independent of paths and names."""


class UnreadableFrames:
    """Frames of a video that cannot be opened; every access raises the error."""

    def __init__(self, error: FrameError) -> None:
        self._error = error

    def _fail(self, *_: Any) -> Any:
        raise self._error

    names = size = property(_fail)
    __len__ = read = digest = _fail


class SelectedFrames:
    """Every n-th frame of a source, up to a maximum number. Frames keep their names.

    Parameters
    ----------
    source
        All frames.
    every
        Step between frames; 1 selects every frame.
    limit
        Maximum number of frames; None for no limit.

    Raises
    ------
    ConfigError
        If `every` or `limit` is less than 1.
    """

    def __init__(self, source: FrameSource, every: int = 1, limit: int | None = None) -> None:
        if every < 1:
            raise ConfigError(f"every must be at least 1, not {every}")
        if limit is not None and limit < 1:
            raise ConfigError(f"the limit of frames must be at least 1, not {limit}")
        self.source = source
        self.limit = limit
        self._every = every

    @property
    def indices(self) -> range:
        """Indices of the selected frames in the source."""
        return range(0, len(self.source), self._every)[: self.limit]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the selected frames, as in the source."""
        return self.source.names[:: self._every][: self.limit]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self.source.size

    @property
    def times(self) -> tuple[float, ...] | None:
        """Presentation times of the frames in seconds; None if the source has none."""
        times: tuple[float, ...] | None = getattr(self.source, "times", None)
        return None if times is None else tuple(times[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one of the selected frames: (height, width, 3), uint8, RGB."""
        return self.source.read(self.indices[index])

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Return the source's digest of the selected frames."""
        chosen = self.indices
        return self.source.digest(chosen if indices is None else [chosen[i] for i in indices])
