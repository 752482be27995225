"""Decode the frames of a video file."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import av
import av.filter
import av.logging
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..store.errors import FrameError
from .image_files import numbered
from .truncation import video_is_truncated

#: Lower-case file name endings of video files.
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".dv"}
)

#: Allowed containers, by FFmpeg's names. Playlists (concat, HLS, DASH) are not allowed: they could read other files.
_CONTAINERS = "mov,avi,matroska,webm,mpeg,mpegvideo,mpegts,dv,flv,asf,ogg,mxf"

#: Maximum number of attempts to flush a decoder: after damage, an attempt may fail and the next one succeed.
_FLUSHES = 16

# Log the decoder's errors, which are evidence of damage; `av.logging.Capture` keeps them from the terminal.
av.logging.set_level(av.logging.ERROR)

_log = logging.getLogger(__name__)


class VideoFrames:
    """Frames of a video file in presentation order, oriented as players display them.

    The largest video stream that is not an attached picture is decoded. FFmpeg's swscale converts colours with its
    default settings; an alpha channel is dropped; interlaced frames are not deinterlaced.

    The first access to names, times or a digest decodes the whole file once, since headers may be wrong. Reading
    forward continues from the last frame. Reading backward starts at the beginning, because seeking is inexact in many
    files. Only the last frame stays in memory. Not thread-safe.

    Frames of a damaged file that cannot be decoded are skipped, and a warning reports their number.

    Parameters
    ----------
    path
        The file. It is opened on first access.
    at_most
        Maximum number of frames to use. The rest of the file is not decoded.

    Raises
    ------
    FrameError
        If the file does not exist. The methods raise it if the file cannot be opened, is truncated, has no frame,
        changes its frame size, or is rotated by an angle that is not a multiple of 90 degrees.
    """

    def __init__(self, path: Path, *, at_most: int | None = None) -> None:
        if not path.is_file():
            raise FrameError(f"there is no video file {path}")
        self._path = path
        self._at_most = at_most
        self._scanned: _Scan | None = None
        self._file_hash: str | None = None
        self._state: tuple[int, int, int] | None = None  # `_file_state` when the file was hashed
        self._decoder: Iterator[VideoFrame] | None = None
        self._converter = _Converter()
        self._position = 0  # number of frames taken from the decoder
        self._last: npt.NDArray[np.uint8] | None = None  # frame `_position - 1`

    def __getstate__(self) -> dict[str, Any]:
        # An open decoder cannot be pickled; a copy opens its own.
        return self.__dict__ | {"_decoder": None, "_converter": _Converter(), "_position": 0, "_last": None}

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of the frames, from ``"00000"``."""
        return numbered(len(self))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames as displayed, in pixels."""
        if self._scanned is not None:
            return self._scanned.size
        height, width, _ = self.read(0).shape
        return height, width

    @property
    def times(self) -> tuple[float, ...] | None:
        """Presentation times of the frames in seconds, from the container; None if any frame lacks a time."""
        times = [time for time in self._scan().times if time is not None]
        return tuple(map(float, times)) if len(times) == len(self) else None

    def __len__(self) -> int:
        return len(self._scan().times)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one frame: (height, width, 3), uint8, RGB."""
        if index < 0 or (self._at_most is not None and index >= self._at_most):
            raise IndexError(index)
        if self._last is not None and index == self._position - 1:
            return self._last.copy()
        if self._decoder is None or index < self._position:
            self.close()
            self._decoder = self._decode(_Findings())
        if self._state is not None and _file_state(self._path) != self._state:
            raise FrameError(f"video {self._path} has changed since it was read first; run the same command again")
        with av.logging.Capture():
            frame = self._next(self._decoder, index)
            while self._position <= index:
                frame = self._next(self._decoder, index)
            try:
                image = self._converter.to_rgb(frame)
            except (av.error.FFmpegError, ValueError) as error:
                raise FrameError(f"cannot convert frame {index} of video {self._path} to RGB: {error}") from error
        self._last = _orientation(frame, self._path).apply(image)
        return self._last.copy()

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Return the SHA-256 of the file's bytes and the selected indices (all by default), independent of its path."""
        scan = self._scan()
        if self._file_hash is None:
            state = _file_state(self._path)
            with self._path.open("rb") as file:
                self._file_hash = hashlib.file_digest(file, "sha256").hexdigest()
            self._state = state
        chosen = ",".join(map(str, range(len(self)) if indices is None else indices))
        # Earlier versions decoded files with these traits differently, so their features must have another digest.
        traits = "".join(f"{trait}\n" for trait in scan.traits)
        return hashlib.sha256(f"ted video file\n{self._file_hash}\n{chosen}\n{traits}".encode()).hexdigest()

    def close(self) -> None:
        """Release the decoder; the next read opens the file again."""
        self._decoder, self._position, self._last = None, 0, None

    def _next(self, decoder: Iterator[VideoFrame], wanted: int) -> VideoFrame:
        frame = next(decoder, None)
        if frame is None:
            ending = self._position
            self.close()
            raise FrameError(f"video {self._path} ends after {ending} frames; frame {wanted} was asked for")
        self._position += 1
        return frame

    def _scan(self) -> "_Scan":
        """Decode the stream once; collect times, the frame size and damage."""
        if self._scanned is not None:
            return self._scanned
        findings = _Findings()
        times: list[Fraction | None] = []
        traits: dict[str, None] = {}
        size = (0, 0)
        with av.logging.Capture() as messages:
            for frame in self._decode(findings):
                if not times:
                    orientation = _orientation(frame, self._path)
                    size = (frame.width, frame.height) if orientation.transpose else (frame.height, frame.width)
                    if orientation.mirrored:
                        traits["mirrored"] = None
                    if max(component.bits for component in frame.format.components) > 8:
                        traits["more than 8 bits"] = None
                if frame.interlaced_frame:
                    traits["interlaced"] = None
                times.append(None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base)
                if len(times) == self._at_most:
                    break
            else:
                findings.complete = True
        if not times:
            raise FrameError(f"video {self._path} has no frame that can be decoded")
        if findings.stream:
            traits[f"stream {findings.stream}"] = None
        self._warn_of_damage(
            findings, times, [text.strip() for _, _, text in messages], interlaced="interlaced" in traits
        )
        self._scanned = _Scan(times=tuple(times), size=size, traits=tuple(sorted(traits)))
        return self._scanned

    def _warn_of_damage(
        self, findings: "_Findings", times: Sequence[Fraction | None], messages: Sequence[str], *, interlaced: bool
    ) -> None:
        missing = findings.missing(times, logged=bool(messages), interlaced=interlaced)
        if missing > 0:
            _log.warning(
                "video %s is damaged: %d of its %d frames cannot be decoded and are left out; frames after them move "
                "up, so annotations by frame number may no longer fit. Copy or export the file again",
                self._path,
                missing,
                missing + len(times),
            )
        elif findings.errors or messages:
            reason = messages[0] if messages else "a frame cannot be decoded"
            _log.warning(
                "video %s may be damaged (FFmpeg: %s): some of its %d frames may be wrong, and others missing",
                self._path,
                reason,
                len(times),
            )

    def _decode(self, findings: "_Findings") -> Iterator[VideoFrame]:
        """Yield the decoded frames; skip those that cannot be decoded."""
        try:
            if not self._path.stat().st_size:
                raise FrameError(f"video {self._path} is empty")
            if video_is_truncated(self._path):
                raise FrameError(f"video {self._path} is truncated: the file ends before the video does; copy it again")
            # Pass an open file: FFmpeg would interpret names with a colon as URLs, and requires UTF-8.
            with self._path.open("rb") as file, self._open(file) as container:
                streams = self._video_streams(container)
                stream = max(streams, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
                findings.stream = streams.index(stream)
                findings.read_headers(container, stream)
                first = (0, 0)
                for index, frame in enumerate(_tolerant_decode(container, stream, findings)):
                    size = (frame.width, frame.height)
                    if index == 0:
                        first = size
                    elif size != first:
                        raise FrameError(
                            f"video {self._path} changes its frame size from {first[0]}x{first[1]} to "
                            f"{size[0]}x{size[1]} pixels at frame {index}: split it into videos of one size"
                        )
                    yield frame
        except OSError as error:
            raise FrameError(f"cannot read video {self._path}: {error.strerror or error}") from error

    def _open(self, file: Any) -> InputContainer:
        try:
            container: InputContainer = av.open(
                file, "r", container_options={"format_whitelist": _CONTAINERS}, metadata_errors="replace"
            )
            return container
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            raise FrameError(
                f"cannot open video {self._path}: damaged, or not a container that is read (such as MP4, MOV, AVI, "
                "MKV, WebM, MPEG)"
            ) from error

    def _video_streams(self, container: InputContainer) -> list[VideoStream]:
        streams = [
            stream
            for stream in container.streams.video
            if not stream.disposition & stream.disposition.attached_pic and stream.codec_context is not None
        ]
        if not streams:
            raise FrameError(f"{self._path} has no video stream that can be decoded")
        return streams


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """Result of decoding a whole stream."""

    times: tuple[Fraction | None, ...]  # presentation time of each frame in seconds; None if the container has none
    size: tuple[int, int]  # (height, width) of the frames as displayed, in pixels
    traits: tuple[str, ...]  # properties that the digest records


@dataclass(kw_only=True)
class _Findings:
    """Counts from one pass over a stream."""

    stream: int = 0  # index of the decoded stream among the video streams that are not attached pictures
    stated: int = 0  # number of frames that the container states; 0 if it states none
    indexed: bool = False  # whether the container has an index with one packet per frame
    ending: Fraction | None = None  # end of the stream in seconds, from the container; None if unknown
    step: Fraction | None = None  # seconds between frames, from the container's frame rate; None if unknown
    packets: int = 0  # number of packets with data, and of those that an edit list removes
    discarded: int = 0
    errors: int = 0  # number of packets that could not be decoded, and of demuxing errors
    complete: bool = False  # whether the pass reached the end of the stream

    def read_headers(self, container: InputContainer, stream: VideoStream) -> None:
        """Record the number of frames and the duration that the headers state."""
        # MP4 and MOV also count samples that an edit list removes, so packets are counted instead.
        self.indexed = container.format.name.startswith("mov")
        self.stated = 0 if self.indexed else stream.frames
        self.step = 1 / stream.average_rate if stream.average_rate else None
        if stream.duration is not None and stream.time_base is not None:
            self.ending = (stream.duration + (stream.start_time or 0)) * stream.time_base
        elif container.duration is not None:
            self.ending = Fraction(container.duration + (container.start_time or 0), av.time_base)

    def missing(self, times: Sequence[Fraction | None], *, logged: bool, interlaced: bool) -> int:
        """Return the number of frames that are missing from the decoded ones, whose times are given.

        Gaps between times count as missing frames only if FFmpeg logged an error, since videos without damage may have
        gaps, too. The fields of interlaced frames may be stored as two packets.
        """
        gaps = self._gaps(times) if logged or self.errors else 0
        if not self.complete:
            return gaps
        stated = max(self.stated, self.packets if self.errors or self.indexed else 0) - self.discarded
        if interlaced and not self.errors and not logged and stated == 2 * len(times):
            return 0
        return max(stated - len(times), gaps)

    def _gaps(self, times: Sequence[Fraction | None]) -> int:
        known = sorted(time for time in times if time is not None)
        steps = [after - before for before, after in pairwise(known) if after > before]
        step = median_low(steps) if steps else self.step
        if step is None or not known:
            return 0
        if self.ending is not None and self.complete:
            steps.append(self.ending - known[-1])
        return sum(max(0, round(length / step) - 1) for length in steps)


@dataclass(frozen=True, kw_only=True)
class _Orientation:
    """Operations that turn a stored frame into the displayed one, in this order."""

    transpose: bool = False  # whether to exchange rows and columns
    flip_x: bool = False  # whether to reverse the columns (x) and the rows (y)
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether the displayed frame is a mirror image, not only a rotation, of the stored one."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the displayed image of a stored one: (y, x, channel)."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(image)


def _orientation(frame: VideoFrame, path: Path) -> _Orientation:
    """Return a frame's orientation from its display matrix, which maps pixel (x, y) to (a x + c y, b x + d y)."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return _Orientation()
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).astype(float)
    straight, crossed = (abs(a), abs(d)), (abs(b), abs(c))
    if min(straight) >= 50 * max(crossed):  # within about one degree
        return _Orientation(flip_x=a < 0, flip_y=d < 0)
    if min(crossed) >= 50 * max(straight):
        return _Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    raise FrameError(f"players rotate video {path} by an angle that is no multiple of 90 degrees; export it upright")


class _Converter:
    """Convert frames to RGB as ``ffmpeg -pix_fmt rgb24`` does."""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._key: tuple[Any, ...] = ()

    def to_rgb(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return the pixels as stored: (y, x, 3), uint8."""
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._graph is None or key != self._key:
            self._graph, self._key = _rgb_graph(frame), key
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, VideoFrame)
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)


def _rgb_graph(frame: VideoFrame) -> av.filter.Graph:
    # PyAV's own `reformat` would convert the fields of interlaced frames separately, unlike ffmpeg.
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(
        source, graph.add("scale", "flags=bicubic"), graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
    ).configure()
    return graph


def _tolerant_decode(container: InputContainer, stream: VideoStream, findings: _Findings) -> Iterator[VideoFrame]:
    """Yield the frames that can be decoded; count packets and errors."""
    # With several threads, the decoded frames of a damaged stream would depend on the number of threads.
    stream.codec_context.thread_count = 1
    packets = container.demux(stream)
    failed_flushes = 0
    while failed_flushes < _FLUSHES:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the demuxer cannot continue
            findings.errors += 1
            packet = None
        if packet is not None:
            findings.packets += packet.size > 0
            findings.discarded += packet.size > 0 and packet.is_discard
        try:
            yield from stream.codec_context.decode(packet)
        except av.error.EOFError:  # the decoder has no more frames
            return
        except av.error.FFmpegError:
            findings.errors += 1
            failed_flushes += packet is None


def _file_state(path: Path) -> tuple[int, int, int]:
    """Return inode, size in bytes and modification time in ns, which change if a file is written or replaced."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    raise FrameError(f"cannot read video {path}: it is no longer there")
