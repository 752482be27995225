"""Reading the frames of a video: one interface to image files and video files, and a choice of frames."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..store.errors import ConfigError
from .frame_size import FrameSize, processed_size, to_pixels
from .image_files import IMAGE_SUFFIXES, ImageFrames
from .video_files import VIDEO_SUFFIXES, VideoFrames

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "FrameSize",
    "FrameSource",
    "ImageFrames",
    "SelectedFrames",
    "VideoFrames",
    "processed_size",
    "to_pixels",
]


class FrameSource(Protocol):
    """The frames of one video, read on demand; memory does not grow with their number."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the frames, without repetition, for example ``"00000"``."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), RGB."""

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """SHA-256 over the encoded content of some frames (all by default) in order; independent of paths and names."""


class SelectedFrames:
    """Every n-th frame of a source, and of those the first few. Names are kept.

    Parameters
    ----------
    source
        Where the frames come from.
    every
        Step; 1 takes every frame.
    limit
        Most frames to take; None for no limit.

    Raises
    ------
    ConfigError
        When either is less than 1.
    """

    def __init__(self, source: FrameSource, every: int = 1, limit: int | None = None) -> None:
        if every < 1:
            raise ConfigError(f"every must be at least 1, not {every}")
        if limit is not None and limit < 1:
            raise ConfigError(f"the limit of frames must be at least 1, not {limit}")
        self._source = source
        self._every = every
        self._limit = limit

    @property
    def source(self) -> FrameSource:
        """Where the frames come from."""
        return self._source

    @property
    def limit(self) -> int | None:
        """Most frames that are taken; None for no limit."""
        return self._limit

    @property
    def indices(self) -> range:
        """Indices of the selected frames in the source."""
        return range(0, len(self._source), self._every)[: self._limit]

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the frames have in the source."""
        return self._source.names[:: self._every][: self._limit]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self._source.size

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one of the selected frames: (height, width, 3), RGB."""
        return self._source.read(self.indices[index])

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """SHA-256 over the selected frames: the source's digest of them."""
        chosen = self.indices
        return self._source.digest(chosen if indices is None else [chosen[i] for i in indices])
