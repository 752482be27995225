"""Polygons and run lengths, against pycocotools and masks made by hand."""

import json
import math
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from ted.pipeline.formats.geometry import (
    box_polygon,
    mask_to_polygons,
    mask_to_rle,
    polygons_to_mask,
    rle_to_mask,
)
from ted.store.errors import LabelError


def decode(rle: dict[str, Any]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2, inside of pycocotools
        return np.asarray(coco.decode(rle)).astype(bool)


def blobs(seed: int, size: tuple[int, int] = (37, 51)) -> np.ndarray:
    """Return random blobs with holes, parts that touch at corners, and parts at the border."""
    noise = np.random.default_rng(seed).standard_normal(size)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.6 + seed % 4)) > 0


@pytest.mark.parametrize("seed", range(12))
def test_polygons_give_the_same_mask(seed: int) -> None:
    mask = blobs(seed)
    np.testing.assert_array_equal(polygons_to_mask(mask_to_polygons(mask), mask.shape), mask)


def test_polygons_of_a_single_pixel_and_of_none() -> None:
    mask = np.zeros((5, 6), bool)
    assert mask_to_polygons(mask) == []
    mask[2, 3] = True
    (polygon,) = mask_to_polygons(mask)
    assert {tuple(polygon[at : at + 2]) for at in range(0, 8, 2)} == {(3, 2), (4, 2), (4, 3), (3, 3)}


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    mask = blobs(seed)
    rle = json.loads(json.dumps(mask_to_rle(mask)))
    np.testing.assert_array_equal(rle_to_mask(rle, mask.shape), mask)
    np.testing.assert_array_equal(decode(rle), mask)
    along = np.concatenate([[0], mask.T.ravel(), [2]])  # columns; the background is first
    runs = np.diff([0, *(np.flatnonzero(np.diff(along.astype(int))))])
    np.testing.assert_array_equal(rle_to_mask({"size": [37, 51], "counts": runs.tolist()}, (37, 51)), mask)


def test_a_box_is_the_pixels_that_it_covers() -> None:
    expected = np.zeros((20, 30), bool)
    expected[4:9, 3:13] = True
    np.testing.assert_array_equal(polygons_to_mask([box_polygon(3, 4, 10, 5)], (20, 30)), expected)
    turned = polygons_to_mask([box_polygon(3, 4, 10, 6, 90)], (20, 30))
    np.testing.assert_array_equal(turned, polygons_to_mask([box_polygon(5, 2, 6, 10)], (20, 30)))


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([], "no polygon"),
        ([[1, 2, 3, 4]], "polygon of 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon of 7 numbers"),
        ([[1, 2, 3, 4, 5, math.nan]], "a point at nan"),
        ([[1, 2, 3, 4, math.inf, 6]], "a point at inf"),
        ([[1, 2, 3, 4, 1e9, 6]], r"a point at 1e\+09, far outside of the 30x20 pixels"),
    ],
)
def test_wrong_polygons(polygons: list[list[float]], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        polygons_to_mask(polygons, (20, 30))


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([], "not {'size'"),
        ({"size": [4, 5], "counts": 7}, "not {'size'"),
        ({"size": 4, "counts": []}, "not {'size'"),
        ({"size": [4, 5], "counts": "é"}, "not {'size'"),
        ({"size": [4, 5], "counts": "oooooooooooooooo"}, "not {'size'"),
        ({"size": [4, 5], "counts": [2**70]}, "not {'size'"),
        ({"size": [4, 5], "counts": ["a"]}, "not {'size'"),
        ({"size": [4, 5], "counts": [2, 3]}, "do not add up to its 20 pixels"),
        ({"size": [4, 5], "counts": [-1, 21]}, "do not add up"),
        ({"size": [4, 5], "counts": [2**62, 2**62, 2**62, 2**62, 20]}, "do not add up"),
        ({"size": [4, 5], "counts": "0" * 50}, "do not add up"),
        ({"size": [30000, 30000], "counts": [900000000]}, r"of \(height, width\) \(30000, 30000\), but its frame is"),
    ],
)
def test_wrong_run_lengths(rle: Any, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        rle_to_mask(rle, (4, 5))
