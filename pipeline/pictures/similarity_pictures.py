"""Pictures of what one pixel of a video resembles."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ...propagate import FeatureReader, Fusion, Part, similarity_map, window_cells
from ..datasets.video import Video
from .columns import Column, Look, write_columns
from .enlarge import enlarged_frame
from .heat import colour_bar, overlay_heat
from .places import Point, cell_of

__all__ = ["write_similarity"]

# What the colours span: percentiles of the similarities on the sheet. An object may be a hundredth of a frame.
_SPAN = (1.0, 99.9)

_LEAST_SIDE = 640
_POINT, _BEST, _EDGE = (255, 255, 255), (255, 96, 208), (0, 0, 0)


def write_similarity(
    video: Video,
    parts: Sequence[Part],
    look: Look,
    *,
    point: Point,
    renormalize: bool = True,
    radius: int | None = None,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Show how similar the fused feature of a pixel is to those of all pixels of other frames: what propagation sees.

    The pixel is marked by a cross in its frame; in each frame, the most similar cell has a ring.

    Parameters
    ----------
    video
        The frames.
    parts
        Features and their weights, more than 0.
    look
        Which frames, and where to.
    point
        The pixel.
    renormalize
        As in `Fusion`.
    radius
        Show the search window of the pixel alone: this many cells in each direction. By default, the whole frame.
    device
        Where to compute.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    ConfigError
        For parts that cannot be fused.
    CorruptUnitError
        For features that are not finite.
    """
    device = torch.device(device)
    sources = FeatureReader(parts)
    fusion = Fusion(weights=sources.weights, context=0, renormalize=renormalize)
    cell = cell_of(point.x, point.y, video.frames.size, sources.grid)
    _, features = next(sources.frames(device, [point.frame]))
    query = [part[cell] for part in features]
    window = None if radius is None else window_cells(sources.grid, cell, radius).numpy()

    def maps(frames: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        for _, features in sources.frames(device, frames):
            values = similarity_map(query, features, fusion).cpu().numpy()
            yield values if window is None else np.where(window, values, np.float32(np.nan))

    low, high = np.nanpercentile(np.stack(list(maps(look.frames))), _SPAN).tolist()

    def draw(frames: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        for frame, values in zip(frames, maps(frames), strict=True):
            picture = enlarged_frame(video.frames.read(frame), _LEAST_SIDE)
            drawn = overlay_heat(picture, values, low, high)
            best = np.unravel_index(np.nanargmax(values), values.shape)
            _ring(drawn, (np.array(best) + 0.5) / sources.grid)
            if frame == point.frame:
                _cross(drawn, (np.array([point.y, point.x]) + 0.5) / video.frames.size)
            yield drawn

    name = video.frames.names[point.frame]
    within = "" if radius is None else f", within {radius} cells"
    return write_columns(
        [Column(title="similarity", draw=draw)],
        video.frames.names,
        look,
        title=f"{video.name}: similarity with pixel {point.x},{point.y} of frame {name} (cross){within}",
        footer=colour_bar(low, high, "similarity (cosine of the fused features); ring: the most similar cell"),
    )


def _cross(picture: npt.NDArray[np.uint8], place: npt.NDArray[np.float64]) -> None:
    y, x = np.rint(place * picture.shape[:2]).astype(int).tolist()
    unit = max(picture.shape[:2]) / _LEAST_SIDE
    for colour, width in ((_EDGE, round(6 * unit)), (_POINT, round(2.5 * unit))):
        cv2.drawMarker(picture, (x, y), colour, cv2.MARKER_CROSS, round(22 * unit), width, cv2.LINE_AA)


def _ring(picture: npt.NDArray[np.uint8], place: npt.NDArray[np.float64]) -> None:
    y, x = np.rint(place * picture.shape[:2]).astype(int).tolist()
    unit = max(picture.shape[:2]) / _LEAST_SIDE
    for colour, width in ((_EDGE, round(6 * unit)), (_BEST, round(2.5 * unit))):
        cv2.circle(picture, (x, y), round(12 * unit), colour, width, cv2.LINE_AA)
