"""Heatmaps of the similarity between one pixel of a video and all others."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ...propagate import CosineKernel, FeatureReader, Fusion, Kernel, Part, window_mask
from ..datasets.video import Video
from .columns import Column, PictureOutput, enlarge_frame, write_columns
from .heatmap import colour_bar, overlay_heatmap
from .selection import Point, cell_of

#: Percentiles of the sheet's similarities that the colours span. An object may cover a hundredth of a frame.
_SPAN = (1.0, 99.9)

_LEAST_SIDE = 640
_CROSS, _RING, _EDGE = (255, 255, 255), (255, 96, 208), (0, 0, 0)


def write_similarity(
    video: Video,
    parts: Sequence[Part],
    output: PictureOutput,
    *,
    point: Point,
    kernel: Kernel | None = None,
    renormalize: bool = True,
    radius: int | None = None,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draw the similarity of one pixel with all pixels of other frames, as propagation compares them.

    A cross marks the pixel in its frame, a ring the most similar cell of each frame.

    The default kernel is the cosine of fused features. `radius` is half the side of the search window around the pixel,
    in cells; by default the whole frame is shown. Returns the files.

    Raises
    ------
    ConfigError
        If the parts cannot be fused.
    CorruptUnitError
        If features are not finite.
    """
    device = torch.device(device)
    reader = FeatureReader(parts)
    fusion = Fusion(weights=reader.weights, context=0, renormalize=renormalize)
    cell = cell_of(point.x, point.y, video.frames.size, reader.grid)
    kernel = kernel or CosineKernel()
    _, features = next(reader.frames(device, [point.frame]))
    bound = kernel.bind(reader.parts)
    query = bound.prepare(features)
    window = None if radius is None else window_mask(reader.grid, cell, radius).numpy()

    def maps(frames: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        for _, features in reader.frames(device, frames):
            values = bound.similarity_map(query, cell, bound.prepare(features), fusion).cpu().numpy()
            yield values if window is None else np.where(window, values, np.float32(np.nan))

    low, high = np.nanpercentile(np.stack(list(maps(output.frames))), _SPAN).tolist()

    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        for frame, values in zip(frames, maps(frames), strict=True):
            picture = enlarge_frame(video.frames.read(frame), _LEAST_SIDE)
            drawn = overlay_heatmap(picture, values, low, high)
            best = np.unravel_index(np.nanargmax(values), values.shape)
            _mark(drawn, (np.array(best) + 0.5) / reader.grid, cross=False)
            if frame == point.frame:
                _mark(drawn, (np.array([point.y, point.x]) + 0.5) / video.frames.size, cross=True)
            yield drawn

    name = video.frames.names[point.frame]
    within = "" if radius is None else f", within {radius} cells"
    measure = "cosine of the fused features" if kernel == CosineKernel() else f"kernel {kernel.name}"
    within += "" if kernel == CosineKernel() else f", kernel {kernel}"
    return write_columns(
        [Column(title="similarity", draw=draw)],
        video.frames.names,
        output,
        title=f"{video.name}: similarity with pixel {point.x},{point.y} of frame {name} (cross){within}",
        footer=colour_bar(low, high, f"similarity ({measure}); ring: the most similar cell"),
    )


def _mark(picture: npt.NDArray[np.uint8], yx: npt.NDArray[np.float64], *, cross: bool) -> None:
    """Draw a cross or a ring at (y, x), in shares of the picture."""
    y, x = np.rint(yx * picture.shape[:2]).astype(int).tolist()
    unit = max(picture.shape[:2]) / _LEAST_SIDE
    for colour, width in ((_EDGE, round(6 * unit)), (_CROSS if cross else _RING, round(2.5 * unit))):
        if cross:
            cv2.drawMarker(picture, (x, y), colour, cv2.MARKER_CROSS, round(22 * unit), width, cv2.LINE_AA)
        else:
            cv2.circle(picture, (x, y), round(12 * unit), colour, width, cv2.LINE_AA)
