"""Movies, written frame by frame."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from ..runs.files import written_whole

__all__ = ["write_movie"]


def write_movie(path: Path, frames: Iterable[npt.NDArray[np.uint8]], *, fps: float = 24.0) -> Path:
    """Write an MP4 (MPEG-4 part 2, which every build of OpenCV can write).

    Encoders want even sizes: an odd last row or column is repeated once.

    Parameters
    ----------
    path
        The file, ending in ``.mp4``; its folder is made if absent. It appears when the movie is complete.
    frames
        (height, width, 3), RGB, all of one size; consumed one at a time.
    fps
        Frames per second, above 0.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConfigError
        When the suffix is another, `fps` makes no sense, there are no frames, their sizes differ, or OpenCV cannot
        write.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"movies are written as .mp4, not {path.name!r}")
    if not 0 < fps < float("inf"):
        raise ConfigError(f"a movie needs a positive number of frames per second, not {fps}")
    with written_whole(path) as temporary:
        _write(temporary, path, frames, fps)
    return path


def _write(temporary: Path, path: Path, frames: Iterable[npt.NDArray[np.uint8]], fps: float) -> None:
    writer: cv2.VideoWriter | None = None
    shape: tuple[int, ...] = ()
    try:
        for frame in frames:
            height, width = frame.shape[:2]
            if writer is None:
                shape = frame.shape
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(temporary), code, fps, (width + width % 2, height + height % 2))
                if not writer.isOpened():
                    raise ConfigError(f"OpenCV cannot write the movie {path}: is the folder writable, has it FFmpeg?")
            if frame.shape != shape:
                raise ConfigError(f"frames of the movie {path} differ in size: {shape} and {frame.shape}")
            even = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
    finally:
        if writer is not None:
            writer.release()
    if writer is None:
        raise ConfigError(f"the movie {path} has no frames")
