"""How well features tell the objects of a video apart, without propagation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...propagate import CosineKernel, FeatureReader, Fusion, Kernel, Part
from ...store.errors import LabelError
from ..datasets.video import Video
from ..pictures.selection import sample_cells
from ..tasks.masks.frames import true_masks


def own_object_shares(
    video: Video, parts: Sequence[Part], *, pixels: int = 40, kernel: Kernel | None = None
) -> npt.NDArray[np.float64]:
    """Measure how often the most similar cell on any object of a frame lies on the same object as the pixel.

    Pixels are sampled regularly on the objects of the first frame, and compared with all object cells of each frame,
    without a search window. Features that cannot tell two identical objects apart score about 0.5. Features that encode
    position may score more: compare with the backbone ``position``.

    About as many pixels are sampled as asked for; the default kernel is the cosine of fused features. Returns (frame,):
    shares in [0, 1] of the pixels whose object is visible; NaN for frames without a mask, or with fewer than two
    visible objects.

    Raises
    ------
    LabelError
        If the first frame has no mask with two objects.
    """
    sources = FeatureReader(parts)
    fusion = Fusion(weights=sources.weights, context=0)
    read = true_masks(video)

    def on_grid(frame: int) -> npt.NDArray[np.uint8]:
        mask = read(frame)
        height, width = sources.grid
        if mask is None:
            return np.zeros((height, width), dtype=np.uint8)
        return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))

    cells, owners = sample_cells(on_grid(0), pixels)
    if len(np.unique(owners)) < 2:
        raise LabelError(f"the first frame of video {video.name!r} has no mask with two objects to be told apart")
    device = torch.device("cpu")
    shares = np.full(sources.frame_count, np.nan)
    kernel = (kernel or CosineKernel()).bind(sources.parts)
    first: Any = None
    for frame, parts_of_frame in sources.frames(device):
        features = kernel.prepare(parts_of_frame)
        first = features if first is None else first
        objects = on_grid(frame)
        seen = np.isin(owners, objects)
        if len(np.unique(objects[objects > 0])) < 2:
            continue
        right = []
        for (y, x), owner in zip(cells.tolist(), owners, strict=True):
            similarity = kernel.similarity_map(first, (y, x), features, fusion).numpy()
            right.append(objects[objects > 0][similarity[objects > 0].argmax()] == owner)
        shares[frame] = np.mean(np.array(right)[seen])
    return shares
