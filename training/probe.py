"""What the features of an object know of it: where it is, which way it goes (by a linear map), and which one it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Cells", "Probed", "object_cells", "probe", "remembered"]

#: Weight of the ridge, in mean squares of the (standardised) features.
_RIDGE = 1e-2

#: Share of a cell that an object must cover.
_COVERED = 0.5


@dataclass(frozen=True, kw_only=True)
class Probed:
    """R squared on videos that the map was not fitted on; 0 is what the mean alone reaches, 1 perfect.

    Attributes
    ----------
    position
        Of the objects' centres.
    velocity
        Of their motion from frame to frame.
    heading
        Of the unit vector of the motion.
    """

    position: float
    velocity: float
    heading: float


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Feature vectors on a video's objects, and what is true of the object there.

    Attributes
    ----------
    vectors
        (cell, channel).
    truth
        (cell, 6): x, y, the velocity, and its unit vector; lengths in widths and heights of the frame.
    objects, frames
        (cell,): number of the object, and of the frame.
    """

    vectors: npt.NDArray[np.float64]
    truth: npt.NDArray[np.float64]
    objects: npt.NDArray[np.int_]
    frames: npt.NDArray[np.int_]


def object_cells(
    features: npt.NDArray[np.float32], masks: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64]
) -> Cells:
    """Gather the cells of which one object covers more than half.

    Parameters
    ----------
    features
        (frame, y, x, channel).
    masks
        (frame, height, width): 0, or the number of the object seen there; whole cells.
    centres
        (object, frame, 2), x and y, in pixels of the masks.
    """
    frames, rows, columns, _ = features.shape
    height, width = masks.shape[1:]
    velocity = np.gradient(centres, axis=1)
    heading = velocity / np.linalg.norm(velocity, axis=-1, keepdims=True)
    size = np.array([width, height])
    truth = np.concatenate([centres / size, velocity / size, heading], axis=-1)  # (object, frame, 6)
    share = np.stack(
        [
            (masks == number + 1).reshape(frames, rows, height // rows, columns, width // columns).mean((2, 4))
            for number in range(len(centres))
        ]
    )
    number, frame, y, x = np.nonzero(share > _COVERED)
    return Cells(
        vectors=features[frame, y, x].astype(np.float64), truth=truth[number, frame], objects=number + 1, frames=frame
    )


def probe(cells: Sequence[Cells], *, fitted: int) -> Probed:
    """Fit a linear map on some videos and score it on the others.

    Parameters
    ----------
    cells
        Of each video, from `object_cells`.
    fitted
        The map is fitted on so many of the first videos.
    """
    vectors, truth = _joined(cells[:fitted])
    mean, spread, middle = vectors.mean(0), vectors.std(0) + 1e-12, truth.mean(0)
    standard = (vectors - mean) / spread
    gram = standard.T @ standard / len(standard) + _RIDGE * np.eye(vectors.shape[1])
    weights = np.linalg.solve(gram, standard.T @ (truth - middle) / len(standard))
    others, true = _joined(cells[fitted:])
    predicted = (others - mean) / spread @ weights + middle
    left = ((true - predicted) ** 2).sum(0)
    total = ((true - middle) ** 2).sum(0)
    scores = [1 - float(left[part].sum() / total[part].sum()) for part in (slice(0, 2), slice(2, 4), slice(4, 6))]
    return Probed(position=scores[0], velocity=scores[1], heading=scores[2])


def remembered(cells: Cells, *, ends: int) -> float:
    """Share of the cells in a video's last frames whose most similar cell in its first frames is of the same object.

    The similarity is the cosine; places play no part. Chance is one in as many as there are objects.

    Parameters
    ----------
    cells
        Of a video.
    ends
        How many frames are the first, and how many the last.
    """
    unit = cells.vectors / np.linalg.norm(cells.vectors, axis=1, keepdims=True)
    early, late = cells.frames < ends, cells.frames > cells.frames.max() - ends
    nearest = np.argmax(unit[late] @ unit[early].T, axis=1)
    return float(np.mean(cells.objects[early][nearest] == cells.objects[late]))


def _joined(cells: Sequence[Cells]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return np.concatenate([one.vectors for one in cells]), np.concatenate([one.truth for one in cells])
