"""Selection of frames and pixels, and their cells on feature grids."""

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.pictures.selection import (
    Point,
    cell_of,
    choose_frames,
    frame_index,
    parse_point,
    sample_cells,
    spaced_around,
)
from ted.store.errors import ConfigError

NAMES = [f"{index:05d}" for index in range(16)]


def test_frames_have_names_and_numbers() -> None:
    assert [frame_index(text, NAMES) for text in ("00008", "8", " 0 ", "15")] == [8, 8, 0, 15]
    # Names have precedence over numbers.
    assert [frame_index(text, ["2", "4", "6"]) for text in ("2", "6", "1")] == [0, 2, 1]
    for text in ("16", "-1", "", "00016", "x", "1.5"):
        with pytest.raises(ConfigError, match="the video has 16, named 00000 to 00015 and numbered from 0"):
            frame_index(text, NAMES)


def test_frames_of_a_sheet() -> None:
    assert choose_frames("15, 0,00008,8", NAMES, 6) == [0, 8, 15]
    assert choose_frames(None, NAMES, 6) == [0, 3, 6, 9, 12, 15]
    with pytest.raises(ConfigError, match="'99'"):
        choose_frames("1,99", NAMES, 6)
    assert spaced_around(16, 6, 8) == [0, 3, 6, 8, 12, 15]
    assert spaced_around(16, 6, 9) == [0, 3, 6, 9, 12, 15]
    assert spaced_around(16, 1, 7) == [7]


def test_points() -> None:
    assert parse_point("8:120,64", NAMES, (256, 320)) == Point(frame=8, x=120, y=64)
    assert parse_point("00015: 319, 255", NAMES, (256, 320)) == Point(frame=15, x=319, y=255)
    for text in ("120,64", "8:120", "8:120,64,3", "8:-1,4", "8:1.5,2", "8:a,b", "8"):
        with pytest.raises(ConfigError, match="is not FRAME:X,Y"):
            parse_point(text, NAMES, (256, 320))
    for text in ("8:320,0", "8:0,256"):
        with pytest.raises(ConfigError, match="320x256 \\(width x height\\)"):
            parse_point(text, NAMES, (256, 320))
    with pytest.raises(ConfigError, match="no frame '16'"):
        parse_point("16:0,0", NAMES, (256, 320))


@pytest.mark.parametrize("size", [(256, 320), (53, 91), (4, 5)])
def test_a_pixel_is_in_the_cell_that_enlarging_the_grid_puts_there(size: tuple[int, int]) -> None:
    grid = (4, 5)
    numbers = np.arange(20, dtype=np.uint8).reshape(grid)
    large = np.asarray(Image.fromarray(numbers).resize((size[1], size[0]), Image.Resampling.NEAREST))
    for y, x in np.random.default_rng(0).integers(0, size, (50, 2)).tolist():
        if (2 * y + 1) * grid[0] % (2 * size[0]) == 0 or (2 * x + 1) * grid[1] % (2 * size[1]) == 0:
            continue  # between two cells
        assert numbers[cell_of(x, y, size, grid)] == large[y, x]


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40, 1000])
def test_cells_are_spread_over_every_object(count: int) -> None:
    objects = np.zeros((20, 30), dtype=np.uint8)
    objects[2:12, 3:15], objects[14:16, 20:22] = 3, 7
    cells, numbers = sample_cells(objects, count)
    np.testing.assert_array_equal(objects[cells[:, 0], cells[:, 1]], numbers)
    assert len(np.unique(cells, axis=0)) == len(cells)
    share = max(1, count // 2)
    for number, size in ((3, 120), (7, 4)):
        own = cells[numbers == number]
        assert 1 <= len(own) <= share
        # The next finer lattice has too many cells.
        assert len(own) > share / 6 or len(own) == size
        if len(own) > 1:
            steps = np.diff(np.unique(own[:, 0])).tolist() + np.diff(np.unique(own[:, 1])).tolist()
            assert len(set(steps)) == 1


def test_there_may_be_no_object() -> None:
    cells, numbers = sample_cells(np.zeros((4, 4), dtype=np.uint8), 5)
    assert cells.shape == (0, 2)
    assert numbers.shape == (0,)
