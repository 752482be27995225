"""Making pictures larger: grids of cells to the size of a frame, small frames to a size that can be drawn on."""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["enlarged_cells", "enlarged_frame"]


def enlarged_cells(cells: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return cells (y, x, 3) in the size (height, width) of the frame that they cover; cells stay visible."""
    return np.asarray(cv2.resize(cells, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def enlarged_frame(frame: npt.NDArray[np.uint8], least: int) -> npt.NDArray[np.uint8]:
    """Return a frame (height, width, 3) whose longer side is at least so many pixels; larger ones as they are."""
    factor = least / max(frame.shape[:2])
    if factor <= 1:
        return frame
    size = round(frame.shape[1] * factor), round(frame.shape[0] * factor)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
