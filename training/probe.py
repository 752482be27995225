"""Linear probes of features for an object's position and motion, and nearest neighbours for its identity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Cells", "Probed", "object_cells", "probe", "remembered"]

#: Weight of the ridge penalty, in mean squares of the standardized features.
_RIDGE = 1e-2

#: Share of a cell that an object covers at least.
_COVERED = 0.5


@dataclass(frozen=True, kw_only=True)
class Probed:
    """R squared on held-out videos, of the centres, the velocity, and the unit vector of the velocity."""

    position: float
    velocity: float
    heading: float


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Feature vectors on a video's objects, with the ground truth of the object.

    Attributes
    ----------
    vectors
        (cell, channel).
    truth
        (cell, 6), x, y, velocity and its unit vector; lengths in widths and heights of the frame.
    objects, frames
        (cell,), number of the object and index of the frame.
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
        (frame, height, width), object numbers, 0 for background; the size is a multiple of the grid's.
    centres
        (object, frame, 2), x and y in pixels of the masks.
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
    """Fit a linear map on the first `fitted` videos and score it on the others.

    Parameters
    ----------
    cells
        Cells of each video, from `object_cells`.
    fitted
        Number of videos to fit on.
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
    """Return the share of cells in the last frames whose nearest cell in the first frames is on the same object.

    The similarity is the cosine, without regard to position. Chance is one over the number of objects.

    Parameters
    ----------
    cells
        Cells of a video.
    ends
        Number of first frames, and of last frames.
    """
    unit = cells.vectors / np.linalg.norm(cells.vectors, axis=1, keepdims=True)
    early, late = cells.frames < ends, cells.frames > cells.frames.max() - ends
    nearest = np.argmax(unit[late] @ unit[early].T, axis=1)
    return float(np.mean(cells.objects[early][nearest] == cells.objects[late]))


def _joined(cells: Sequence[Cells]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return np.concatenate([one.vectors for one in cells]), np.concatenate([one.truth for one in cells])
