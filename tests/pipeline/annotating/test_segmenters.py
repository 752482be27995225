"""Objects separated from their surroundings."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ted.pipeline.annotating.segmenters import Prompt, fill_box, grab_cut, load_sam
from ted.pipeline.metrics.jf import region_similarity
from ted.store.errors import WeightsError


def scene(size: tuple[int, int] = (120, 200)) -> tuple[np.ndarray, np.ndarray]:
    """Return a mottled ellipse before a mottled background of another colour, and its mask."""
    mask = np.zeros(size, np.uint8)
    cv2.ellipse(mask, (size[1] // 2, size[0] // 2), (size[1] // 5, size[0] // 4), 30, 0, 360, 1, -1)
    noise = np.random.default_rng(0).integers(-25, 26, (*size, 3))
    colours = np.where(mask[..., None] == 1, (190, 90, 60), (70, 120, 130)) + noise
    return colours.clip(0, 255).astype(np.uint8), mask == 1


@pytest.mark.parametrize("size", [(120, 200), (600, 1000)])
def test_grab_cut_finds_the_object_in_a_box(size: tuple[int, int]) -> None:
    picture, truth = scene(size)
    ys, xs = np.nonzero(truth)
    grown = size[0] // 12
    box = (xs.min() - grown, ys.min() - grown, np.ptp(xs) + 2 * grown, np.ptp(ys) + 2 * grown)
    prompt = Prompt(box=tuple(map(int, box)))
    found = grab_cut(picture, prompt)
    assert found.shape == size
    assert region_similarity(truth, found) > 0.95
    assert region_similarity(truth, fill_box(picture, prompt)) < 0.6
    np.testing.assert_array_equal(found, grab_cut(picture, prompt))  # the same again


def test_grab_cut_from_clicks() -> None:
    picture, truth = scene()
    found = grab_cut(picture, Prompt(points=((100, 60, True), (10, 10, False))))
    assert region_similarity(truth, found) > 0.9


def test_clicks_in_a_box() -> None:
    """A click takes a second object of the same colour out of the box."""
    picture, truth = scene()
    other = np.zeros_like(truth)
    other[45:75, 160:190] = True
    picture[other] = (190, 90, 60)
    box = (50, 20, 145, 80)
    assert (grab_cut(picture, Prompt(box=box)) & other).any()
    found = grab_cut(
        picture, Prompt(box=box, points=((175, 60, False), (170, 50, False), (182, 68, False), (100, 60, True)))
    )
    assert not found[60, 175]
    assert found[60, 100]


@pytest.mark.parametrize(
    "box", [(0, 0, 200, 120), (5, 5, 1, 1), (0, 0, 40, 30)], ids=["whole frame", "one pixel", "without an edge"]
)
def test_where_colours_separate_nothing_the_box_is_the_mask(box: tuple[int, int, int, int]) -> None:
    picture = np.full((120, 200, 3), 90, np.uint8)
    found = grab_cut(picture, Prompt(box=box))
    assert found.any()
    assert not (found & ~fill_box(picture, Prompt(box=box))).any()


def test_sam(tmp_path: Path) -> None:
    """A small random model: the mask is that of the embeddings and the prompt (`Sam.masks` has tests of its own)."""
    torch = pytest.importorskip("torch")
    from ted.extract.backbones import load_backbone
    from ted.extract.small_models import make_small

    folder = make_small("sam", tmp_path / "sam")
    segment, sam = load_sam(folder), load_backbone("sam", folder, device=torch.device("cpu"), dtype=torch.float32)
    picture, _ = scene()
    points = ((100, 60, True), (10, 10, False))
    for prompt, shown in (
        (Prompt(box=(50, 20, 90, 80)), {"box": (50, 20, 140, 100)}),
        (Prompt(points=points), {"points": points}),
        (Prompt(box=(50, 20, 90, 80), points=points), {"box": (50, 20, 140, 100), "points": points}),
    ):
        found = segment(picture, prompt)
        assert (found.shape, found.dtype) == ((120, 200), np.bool_)
        expected = sam.masks(sam.embed(picture), (120, 200), several=False, **shown)[0] > 0  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found, expected.numpy())
        assert found.any()
    with pytest.raises(WeightsError, match=r"no config\.json, no model\.safetensors in"):
        load_sam(tmp_path)
