"""Write movies frame by frame."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError
from ..runs.files import written_whole

__all__ = ["write_movie"]

#: Encoders, the best first, and their options. Browsers play the first two.
_ENCODERS = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "libopenh264": {"b": "8M"},
    "mpeg4": {"qscale": "2", "flags": "+qscale"},
}

_BT709, _LIMITED = 1, 1  # FFmpeg's numbers of the colour matrix, primaries and transfer function, and of the range


def write_movie(path: Path, frames: Iterable[npt.NDArray[np.uint8]], *, fps: float = 24.0) -> Path:
    """Write an MP4 that browsers play: H.264, 4:2:0, with its index first.

    Encoders need even sizes: an odd last row or column is repeated once.

    Parameters
    ----------
    path
        The file, ending in ``.mp4``; its folder is made if absent. It appears when the movie is complete.
    frames
        (height, width, 3), uint8, RGB, all of one size; consumed one at a time.
    fps
        Frames per second, above 0.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConfigError
        If the suffix or `fps` cannot be used, there are no frames, their sizes differ, or they cannot be encoded.
    CacheError
        If the file cannot be written, for example because the disk is full.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"movies are written as .mp4, not {path.name!r}")
    if not 0 < fps < float("inf"):
        raise ConfigError(f"a movie needs a positive number of frames per second, not {fps}")
    with written_whole(path) as temporary, av.logging.Capture():
        with io.FileIO(temporary, "w+") as file:
            output = _Output(file)
            try:
                count = _encode(output, temporary, path, frames, fps)
            except av.error.FFmpegError as error:
                raise output.error or ConfigError(f"cannot encode the movie {path}: {error}") from error
            if output.error is not None:
                raise output.error
        found = _count_frames(temporary)
        if found != count:
            raise ConfigError(f"cannot encode the movie {path}: {found} of its {count} frames can be read back")
    return path


class _Output:
    """A file that FFmpeg writes to. The first error is stored, and what follows is not written.

    FFmpeg would take a path with a colon for a URL, and needs UTF-8; PyAV prints exceptions of files instead of
    raising them.
    """

    name = "movie.mp4"

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.seek, self.tell = file.seek, file.tell

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                rest = rest[self._file.write(rest) or 0 :]
            except OSError as error:
                self.error = error
        return len(data)


def _encode(output: _Output, temporary: Path, path: Path, frames: Iterable[npt.NDArray[np.uint8]], fps: float) -> int:
    """Encode all frames and return their number."""

    def reopen(_url: str, _flags: int, _options: dict[str, Any]) -> BinaryIO:  # to move the index to the front
        return temporary.open("rb")

    shape: tuple[int, ...] = ()
    count = 0
    options = {"movflags": "+faststart"}
    with av.open(output, "w", format="mp4", options=options, io_open=reopen) as container:
        for content in frames:
            if output.error is not None:
                raise output.error
            height, width = content.shape[:2]
            if not shape:
                shape = content.shape
                stream = _add_stream(container, height + height % 2, width + width % 2, fps)
            if content.shape != shape:
                raise ConfigError(f"frames of the movie {path} differ in size: {shape} and {content.shape}")
            if height % 2 or width % 2:
                content = np.pad(content, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(content), format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts = count
            container.mux(stream.encode(frame))
            count += 1
        if not count:
            raise ConfigError(f"the movie {path} has no frames")
        container.mux(stream.encode())
    return count


def _add_stream(container: Any, height: int, width: int, fps: float) -> Any:
    encoder = next(name for name in _ENCODERS if _encodes(name))
    stream = container.add_stream(encoder, rate=Fraction(fps).limit_denominator(10**5), options=_ENCODERS[encoder])
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return stream


def _encodes(name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except av.codec.codec.UnknownCodecError:
        return False


def _count_frames(path: Path) -> int:
    with path.open("rb") as file, av.open(file, "r", format="mp4") as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))
