"""Write movies frame by frame."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
import numpy.typing as npt
from PIL import Image

from ...store.errors import ConfigError
from ..runs.files import written_whole


@dataclass(frozen=True, kw_only=True)
class _Format:
    """FFmpeg's container, encoders with their options (the best first), pixel format, and the channels of frames."""

    container: str
    encoders: dict[str, dict[str, str]]
    pixels: str
    options: dict[str, str]
    channels: int = 3


_FORMATS = {
    # Browsers play what the first two encoders write.
    ".mp4": _Format(
        container="mp4",
        encoders={
            "libx264": {"crf": "18", "preset": "veryfast"},
            "libopenh264": {"b": "8M"},
            "mpeg4": {"qscale": "2", "flags": "+qscale"},
        },
        pixels="yuv420p",
        options={"movflags": "+faststart"},
    ),
    ".webp": _Format(
        container="webp", encoders={"libwebp_anim": {"quality": "80"}}, pixels="bgra", options={"loop": "0"}
    ),
    ".mov": _Format(
        container="mov",
        encoders={"prores_ks": {"profile": "4444", "vendor": "apl0"}},
        pixels="yuva444p10le",
        options={"movflags": "+faststart"},
        channels=4,
    ),
    ".webm": _Format(
        container="webm",
        encoders={"libvpx-vp9": {"crf": "18", "b": "0", "auto-alt-ref": "0", "cpu-used": "4"}},
        pixels="yuva420p",
        options={},
        channels=4,
    ),
}

#: Endings of movies of opaque frames.
MOVIE_SUFFIXES = tuple(suffix for suffix, form in _FORMATS.items() if form.channels == 3)

_BT709, _LIMITED = 1, 1  # FFmpeg's numbers of the colour matrix, primaries and transfer function, and of the range


def write_movie(path: Path, frames: Iterable[npt.NDArray[np.uint8]], *, fps: float = 24.0) -> Path:
    """Write a movie in the format of its ending.

    ``.mp4`` is H.264, 4:2:0, with its index first, which browsers play; ``.webp`` is an animation that pages show like
    a picture. ``.mov`` (ProRes 4444) and ``.webm`` (VP9) have an alpha channel, for editors and for pages.

    Encoders of 4:2:0 need even sizes: an odd last row or column is repeated once.

    Parameters
    ----------
    path
        The file; its folder is made if absent. It appears when the movie is complete.
    frames
        (height, width, 3), uint8, RGB, or (height, width, 4) with straight alpha for ``.mov`` and ``.webm``; all of one
        size; consumed one at a time.
    fps
        Frames per second, above 0.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConfigError
        If the ending or `fps` cannot be used, there are no frames, their sizes differ, or they cannot be encoded.
    CacheError
        If the file cannot be written, for example because the disk is full.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ConfigError(f"movies are written as {', '.join(_FORMATS)}, not {path.name!r}")
    if not 0 < fps < float("inf"):
        raise ConfigError(f"a movie needs a positive number of frames per second, not {fps}")
    with written_whole(path) as temporary, av.logging.Capture():
        with io.FileIO(temporary, "w+") as file:
            output = _Output(file)
            try:
                count = _encode(output, temporary, path, frames, fps, form)
            except av.error.FFmpegError as error:
                raise output.error or ConfigError(f"cannot encode the movie {path}: {error}") from error
            if output.error is not None:
                raise output.error
        found = _count_frames(temporary, form)
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


def _encode(
    output: _Output,
    temporary: Path,
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    fps: float,
    form: _Format,
) -> int:
    """Encode all frames and return their number."""

    def reopen(_url: str, _flags: int, _options: dict[str, Any]) -> BinaryIO:  # to move the index to the front
        return temporary.open("rb")

    shape: tuple[int, ...] = ()
    count = 0
    step = 2 if "420" in form.pixels else 1
    layout = "rgb24" if form.channels == 3 else "rgba"
    with av.open(output, "w", format=form.container, options=form.options, io_open=reopen) as container:
        for content in frames:
            if output.error is not None:
                raise output.error
            height, width = content.shape[:2]
            if not shape:
                shape = content.shape
                stream = _add_stream(container, height + height % step, width + width % step, fps, form)
            if content.shape != shape:
                raise ConfigError(f"frames of the movie {path} differ in size: {shape} and {content.shape}")
            if height % step or width % step:
                content = np.pad(content, ((0, height % step), (0, width % step), (0, 0)), mode="edge")
            if form.pixels == "yuva444p10le":
                frame = _ten_bits(content)
            else:
                yuv = form.pixels != "bgra"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(content), format=layout).reformat(
                    format=form.pixels,
                    dst_colorspace="ITU709" if yuv else None,
                    dst_color_range="MPEG" if yuv else None,
                )
            frame.pts = count
            container.mux(stream.encode(frame))
            count += 1
        if not count:
            raise ConfigError(f"the movie {path} has no frames")
        container.mux(stream.encode())
    return count


def _ten_bits(content: npt.NDArray[np.uint8]) -> av.VideoFrame:
    """Convert RGBA to 10 bits of 4:4:4 with alpha; swscale of FFmpeg 8 errs in a few pixels of some frames."""
    height, width = content.shape[:2]
    red, green, blue, alpha = np.moveaxis(content / np.float32(255), -1, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    planes = (64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8556, 512 + 896 * (red - luma) / 1.5748, 1023 * alpha)
    frame = av.VideoFrame(width, height, "yuva444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((height, plane.line_size // 2), np.uint16)
        rows[:, :width] = np.rint(values)
        plane.update(rows.tobytes())
    return frame


def _add_stream(container: Any, height: int, width: int, fps: float, form: _Format) -> Any:
    encoder = next((name for name in form.encoders if _encodes(name)), None)
    if encoder is None:
        raise ConfigError(f"this build of FFmpeg has none of the encoders {', '.join(form.encoders)}")
    stream = container.add_stream(encoder, rate=Fraction(fps).limit_denominator(10**5), options=form.encoders[encoder])
    stream.height, stream.width, stream.pix_fmt = height, width, form.pixels
    if form.pixels != "bgra":
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
    return stream


def _encodes(name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except av.codec.codec.UnknownCodecError:
        return False


def _count_frames(path: Path, form: _Format) -> int:
    if form.container == "webp":  # FFmpeg does not read animations
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    with path.open("rb") as file, av.open(file, "r", format=form.container) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))
