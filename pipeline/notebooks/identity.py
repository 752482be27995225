"""Whether features tell the objects of a video apart, before any label is propagated."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...propagate import FeatureReader, Fusion, Part, similarity_map
from ...store.errors import LabelError
from ..datasets.video import Video
from ..pictures.mask_pictures import true_masks
from ..pictures.selection import sample_cells

__all__ = ["own_object_shares"]


def own_object_shares(video: Video, parts: Sequence[Part], *, pixels: int = 40) -> npt.NDArray[np.float64]:
    """Measure how often a pixel of an object resembles its own object most, among all objects of a later frame.

    Pixels are regularly spaced on the objects of the first frame. For each, the most similar cell on any object is
    looked for in every frame, over the whole frame and without a window; it is right if it lies on the pixel's object.
    Features that do not tell identical objects apart are right about as often as not. So may be features that know no
    object, but where a pixel is: hold those of the backbone ``position`` beside.

    Parameters
    ----------
    video
        With the masks of the frames, the first at least.
    parts
        Features of the video and their weights.
    pixels
        About how many.

    Returns
    -------
    numpy.ndarray
        (frame,), in [0, 1]; 1 in the first frame, where a pixel finds itself. Only pixels count whose object is seen in
        the frame. NaN without a mask, and where fewer than two objects are seen.

    Raises
    ------
    LabelError
        When the first frame has no mask with two objects.
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
    queries: list[list[torch.Tensor]] = []
    for frame, features in sources.frames(device):
        queries = queries or [[part[y, x] for part in features] for y, x in cells.tolist()]
        objects = on_grid(frame)
        seen = np.isin(owners, objects)
        if len(np.unique(objects[objects > 0])) < 2:
            continue
        right = []
        for query, owner in zip(queries, owners, strict=True):
            similarity = similarity_map(query, features, fusion).numpy()
            right.append(objects[objects > 0][similarity[objects > 0].argmax()] == owner)
        shares[frame] = np.mean(np.array(right)[seen])
    return shares
