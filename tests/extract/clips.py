"""Write small video files of many kinds with PyAV, whose frames are known by construction."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

BLOCK = 16  # pixels: side of the blocks of one colour in `blocks`


def blocks(height: int, width: int, seed: int = 0) -> Picture:
    """Return a picture (y, x, 3) of blocks of one random colour, whose chroma survives subsampling."""
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    colours = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return colours.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]


def inside(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return the mask (y, x) of the pixels of `blocks` at least 3 pixels from other blocks, unaffected by filters."""
    y, x = (np.arange(size) % BLOCK for size in (height, width))
    return ((y >= 3) & (y < BLOCK - 3))[:, None] & ((x >= 3) & (x < BLOCK - 3))[None]


def write_clip(
    path: Path,
    frames: Sequence[Picture | av.VideoFrame],
    codec: str = "png",
    pixel_format: str = "rgb24",
    *,
    times: Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    rate: int = 10,
    time_base: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    container: Mapping[str, str] | None = None,
    **properties: Any,
) -> Path:
    """Encode frames (RGB, or in `pixel_format`) at `times` in units of `time_base`; evenly at `rate` by default."""
    with av.open(str(path), "w", container_options=dict(container or {})) as output:
        stream = open_stream(output, frames, codec, pixel_format, options, rate, time_base=time_base, **properties)
        if matrix is not None:
            stream.set_display_matrix(list(matrix))
        encode(output, stream, frames, times)
    return path


def open_stream(
    output: Any,
    frames: Sequence[Picture | av.VideoFrame],
    codec: str = "png",
    pixel_format: str = "rgb24",
    options: Mapping[str, str] | None = None,
    rate: int = 10,
    *,
    time_base: Fraction | None = None,
    disposition: int | None = None,
    **properties: Any,
) -> Any:
    """Add a stream for `frames` to an open container; all of them before the first frame is encoded."""
    first = _frame(frames[0])
    stream = output.add_stream(codec, rate=rate, options=dict(options or {}))
    stream.width, stream.height, stream.pix_fmt = first.width, first.height, pixel_format
    stream.codec_context.time_base = time_base or Fraction(1, rate)
    for name, value in properties.items():
        setattr(stream.codec_context, name, value)
    if disposition is not None:
        stream.disposition = disposition
    return stream


def encode(
    output: Any, stream: Any, frames: Sequence[Picture | av.VideoFrame], times: Sequence[int] | None = None
) -> None:
    """Encode and mux all frames of one stream."""
    for index, content in enumerate(frames):
        frame = _frame(content)
        if frame.format.name != stream.pix_fmt:
            frame = frame.reformat(format=stream.pix_fmt)
        frame.pts = index if times is None else times[index]
        frame.time_base = stream.codec_context.time_base
        output.mux(stream.encode(frame))
    output.mux(stream.encode())


def _frame(content: Picture | av.VideoFrame) -> av.VideoFrame:
    return content if isinstance(content, av.VideoFrame) else av.VideoFrame.from_ndarray(content, format="rgb24")


#: Weights of red and blue in luma (ITU-R BT.601, BT.709 and BT.2020), by FFmpeg's number of the matrix.
LUMA = {5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}


def yuv_frame(picture: Picture, pixel_format: str, *, matrix: int | None = None, full: bool = False) -> av.VideoFrame:
    """Convert `blocks` to planes of luma and chroma by the definition of Y'CbCr, without swscale.

    Parameters
    ----------
    picture
        (y, x, 3), RGB.
    pixel_format
        ``yuv4xxp`` or ``yuva4xxp``, optionally with ``10le``.
    matrix
        Key of `LUMA`; BT.601, without a tag, by default.
    full
        Whether values use the full range.
    """
    red, blue = LUMA[matrix or 5]
    r, g, b = np.moveaxis(picture / 255.0, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    bits = 10 if pixel_format.endswith("10le") else 8
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    scale = [top, top] if full else [219 * unit, 224 * unit]
    planes = [luma * scale[0] + (0 if full else 16 * unit), *(c * scale[1] + 128 * unit for c in (u, v))]
    step_y, step_x = {"444": (1, 1), "422": (1, 2), "420": (2, 2)}[pixel_format.lstrip("yuva")[:3]]
    planes[1:] = [plane[::step_y, ::step_x] for plane in planes[1:]]
    if pixel_format.startswith("yuva"):
        planes.append(np.full(luma.shape, top // 3))
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], pixel_format)
    kind = np.dtype("<u2" if bits > 8 else "u1")
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        padded[:, : values.shape[1]] = values.round().clip(0, top)
        plane.update(padded.tobytes())
    if matrix is not None:
        frame.colorspace = matrix
    frame.color_range = 2 if full else 1
    return frame
