"""Heatmaps over frames, in viridis, whose order is visible with any colour vision."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from .sheet import FAINT, INK, PAPER

_TEXT = 15


def heatmap_colours(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return RGB colours (..., 3), uint8: dark for values up to `low`, bright from `high` on."""
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    shares = (np.asarray(values, dtype=np.float64) - low) / (high - low if high > low else 1.0)
    return np.asarray(table[np.rint(255 * shares.clip(0, 1)).astype(np.uint8)])


def overlay_heatmap(
    frame: npt.NDArray[np.uint8], values: npt.NDArray[np.floating], low: float, high: float, *, opacity: float = 0.7
) -> npt.NDArray[np.uint8]:
    """Draw a heatmap over a grey version of a frame (height, width, 3), RGB, and return a new array.

    The grid of `values` (y, x) covers the frame, which stays grey where they are NaN. `low` and `high` are the values
    of the darkest and the brightest colour; opacity is in [0, 1].
    """
    size = frame.shape[1], frame.shape[0]
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    known = np.isfinite(values)
    # NaN would spread by interpolation; at the border of what is known, values fade to the lowest colour instead.
    large = cv2.resize(np.where(known, values, low).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    mixed = cv2.addWeighted(grey, 1 - opacity, heatmap_colours(large, low, high), opacity, 0)
    inside = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.where(inside[..., None] > 0, mixed, grey).astype(np.uint8, copy=False)


def colour_bar(low: float, high: float, label: str, *, width: int = 420) -> npt.NDArray[np.uint8]:
    """Draw the scale of a heatmap with its ends and its middle: (height, width, 3), RGB, on a white ground."""
    bar = heatmap_colours(np.linspace(0, 1, width)[None].repeat(16, axis=0), 0, 1)
    font = ImageFont.load_default(_TEXT)
    strip = Image.new("RGB", (width, 16 + 2 * (_TEXT + 8)), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((0, 0), label, fill=INK, font=font)
    strip.paste(Image.fromarray(bar), (0, _TEXT + 8))
    digits = max(2, min(6, 1 - int(np.floor(np.log10(max(high - low, 1e-6))))))
    below = _TEXT + 8 + 16 + 4
    for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        value = low + share * (high - low)
        draw.text((share * width, below), f"{value:.{digits}f}", fill=FAINT, font=font, anchor=anchor)
    return np.asarray(strip)
