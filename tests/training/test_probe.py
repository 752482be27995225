"""Probes on features with known content."""

import numpy as np
import pytest

from training.probe import Cells, object_cells, probe, remembered

RNG = np.random.default_rng(0)


def two_objects() -> tuple[np.ndarray, np.ndarray]:
    """Return masks (frame, height, width) and centres of two 8-pixel squares that pass each other in separate rows."""
    masks = np.zeros((6, 32, 32), dtype=np.uint8)
    centres = np.empty((2, 6, 2))
    for frame in range(6):
        for number, (left, top) in enumerate(((4 * frame, 0), (20 - 4 * frame, 16))):
            masks[frame, top : top + 8, left : left + 8] = number + 1
            centres[number, frame] = left + 3.5, top + 3.5
    return masks, centres


def test_cells_of_objects_and_what_is_true_there() -> None:
    masks, centres = two_objects()
    features = np.arange(6 * 8 * 8, dtype=np.float32).reshape(6, 8, 8, 1)  # each cell's number: squares of 4 pixels
    cells = object_cells(features, masks, centres)
    assert len(cells.vectors) == 2 * 6 * 4
    frame, y, x = np.unravel_index(cells.vectors[:, 0].astype(int), (6, 8, 8))
    np.testing.assert_array_equal(frame, cells.frames)
    np.testing.assert_array_equal(cells.objects, 1 + (y >= 4))
    np.testing.assert_array_equal(cells.objects, masks[frame, 4 * y, 4 * x])
    first = cells.objects == 1
    np.testing.assert_allclose(cells.truth[first, 2:], np.tile([4 / 32, 0, 1, 0], (24, 1)))
    np.testing.assert_allclose(cells.truth[~first, 2:], np.tile([-4 / 32, 0, -1, 0], (24, 1)))
    np.testing.assert_allclose(cells.truth[first & (cells.frames == 2), :2], np.tile([11.5 / 32, 3.5 / 32], (4, 1)))


def test_half_covered_cells_belong_to_nobody() -> None:
    masks = np.zeros((2, 8, 8), dtype=np.uint8)
    masks[:, :4, :2] = 1  # half of a cell of 4 x 4
    masks[:, 4:, :3] = 1
    cells = object_cells(np.ones((2, 2, 2, 3), dtype=np.float32), masks, np.array([[[1.0, 3.0], [2.0, 3.0]]]))
    assert len(cells.vectors) == 2  # one per frame


def drawn(vectors: np.ndarray, truth: np.ndarray) -> Cells:
    count = len(vectors)
    return Cells(vectors=vectors, truth=truth, objects=np.ones(count, dtype=int), frames=np.arange(count))


def test_a_linear_map_reads_what_is_there_and_nothing_else() -> None:
    mixing = RNG.standard_normal((2, 12))
    videos = []
    for _ in range(20):
        truth = RNG.standard_normal((40, 6))
        noise = 0.02 * RNG.standard_normal((40, 12))
        videos.append(drawn(truth[:, 2:4] @ mixing + noise + 3, truth))
    found = probe(videos, fitted=10)
    assert found.velocity > 0.97
    assert abs(found.position) < 0.1
    assert abs(found.heading) < 0.1


def test_features_remember_their_object_or_its_place() -> None:
    frames, objects = np.repeat(np.arange(4), 2), np.tile([1, 2], 4)
    same = np.eye(2)[objects - 1] + 0.1
    swapped = np.where((frames < 2)[:, None], same, same[:, ::-1])
    for vectors, expected in ((same, 1.0), (swapped, 0.0)):
        cells = Cells(vectors=vectors * (1 + frames[:, None]), truth=np.zeros((8, 6)), objects=objects, frames=frames)
        assert remembered(cells, ends=2) == pytest.approx(expected)
