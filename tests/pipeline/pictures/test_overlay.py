"""Pictures: masks over frames, contact sheets, movies."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ted.pipeline.pictures.overlay import overlay_mask
from ted.pipeline.pictures.palette import display_palette
from ted.pipeline.pictures.selection import evenly_spaced
from ted.pipeline.pictures.sheet import contact_sheet, write_picture
from ted.store.errors import ConfigError

Picture = npt.NDArray[np.uint8]


def frame(height: int = 60, width: int = 80, seed: int = 0) -> Picture:
    grid = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(grid, (width, height)), dtype=np.uint8)


def two_squares() -> npt.NDArray[np.uint8]:
    ids = np.zeros((60, 80), dtype=np.uint8)
    ids[10:30, 10:30], ids[10:30, 30:50] = 1, 7
    return ids


# --- overlay


def test_background_stays_and_objects_are_tinted() -> None:
    image, ids = frame(), two_squares()
    before = image.copy()
    drawn = overlay_mask(image, ids)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[ids == 0], image[ids == 0])
    np.testing.assert_array_equal(image, before)
    inner = (slice(13, 27), slice(13, 27))
    expected = 0.45 * image[inner] + 0.55 * display_palette()[1]
    np.testing.assert_allclose(drawn[inner], expected, atol=0.51)


def test_contours_have_the_full_colour_also_between_objects() -> None:
    drawn = overlay_mask(frame(), two_squares())
    colours = display_palette()
    for y, x, object_id in [(10, 20, 1), (29, 20, 1), (20, 10, 1), (20, 29, 1), (20, 30, 7), (20, 49, 7)]:
        np.testing.assert_array_equal(drawn[y, x], colours[object_id])


def test_without_objects_a_frame_stays_as_it_is() -> None:
    np.testing.assert_array_equal(overlay_mask(frame(), np.zeros((60, 80), dtype=np.int64)), frame())


# --- contact sheet


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [
        (50, 5, [0, 12, 24, 37, 49]),
        (3, 8, [0, 1, 2]),
        (1, 4, [0]),
        (9, 1, [0]),
        (9, 0, []),
        (0, 3, []),
        (10, 2, [0, 9]),
    ],
)
def test_evenly_spaced(count: int, wanted: int, expected: list[int]) -> None:
    assert evenly_spaced(count, wanted) == expected


def test_sheet_shows_every_picture_with_its_label_and_the_legend() -> None:
    flat = [np.full((60, 80, 3), 10 * i + 5, dtype=np.uint8) for i in range(6)]
    pictures = [(f"frame {i}", picture) for i, picture in enumerate(flat)]
    sheet = contact_sheet(pictures, columns=3)
    for picture in flat:
        assert (sheet == picture[0, 0]).all(axis=-1).sum() >= 60 * 80
    # Reading order: the first is above the fourth, left of the second.
    corners = [np.argwhere((sheet == picture[0, 0]).all(axis=-1)).min(axis=0) for picture in flat]
    assert corners[0][0] == corners[1][0] < corners[3][0]
    assert corners[0][1] == corners[3][1] < corners[1][1]
    unlabelled = contact_sheet([("", picture) for _, picture in pictures], columns=3)
    assert unlabelled.shape == sheet.shape
    assert (unlabelled != sheet).any()
    with_more = contact_sheet(pictures, columns=3, title="Swan", legend={1: "swan", 2: "other"})
    assert with_more.shape[0] > sheet.shape[0]
    for object_id in (1, 2):
        assert (with_more == display_palette()[object_id]).all(axis=-1).sum() >= 15 * 15


def test_sheet_never_exceeds_its_width() -> None:
    pictures = [(str(i), frame(120, 300)) for i in range(7)]
    legend = {i: f"a rather long name of object {i}" for i in range(1, 9)}
    sheet = contact_sheet(pictures, columns=4, width=700, legend=legend, title="t")
    assert sheet.shape[1] <= 700
    # The names went to several lines, all inside of the margins.
    assert (sheet[:, :24] == 255).all()
    assert (sheet[:, -24:] == 255).all()
    for object_id in legend:
        assert (sheet == display_palette()[object_id]).all(axis=-1).any()
    tall = contact_sheet([("0", frame(300, 120))])
    assert tall.shape[0] > tall.shape[1]


def test_sheets_of_nothing_or_of_many_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        contact_sheet([])
    with pytest.raises(ConfigError, match="one size"):
        contact_sheet([("a", frame(60, 80)), ("b", frame(80, 60))])


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "new" / "sheet.png", frame())
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), frame())
    assert list(path.parent.iterdir()) == [path]
