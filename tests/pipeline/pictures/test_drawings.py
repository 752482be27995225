"""Heatmaps, arrows and columns of pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ted.extract.frames import VideoFrames
from ted.pipeline.pictures.arrow_pictures import draw_origins
from ted.pipeline.pictures.columns import Column, PictureOutput, enlarge_cells, enlarge_frame, write_columns
from ted.pipeline.pictures.heatmap import colour_bar, heatmap_colours, overlay_heatmap
from ted.pipeline.pictures.palette import display_palette
from ted.pipeline.pictures.sheet import contact_sheet
from ted.propagate import Origins

Picture = npt.NDArray[np.uint8]
COLOURS = display_palette()[1:3]


def luminance(colours: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    return np.asarray(colours @ np.array([0.2126, 0.7152, 0.0722]))


# --- heatmaps


def test_colours_brighten_from_low_to_high_and_are_cut_off_beyond() -> None:
    colours = heatmap_colours(np.linspace(-3, 5, 100), -3, 5)
    assert (np.diff(luminance(colours)) > 0).all()
    # Viridis goes from violet to yellow.
    assert colours[0].tolist() == [68, 1, 84]
    assert colours[-1].tolist() == [253, 231, 37]
    np.testing.assert_array_equal(heatmap_colours(np.array([-9.0, 9.0]), -3, 5), colours[[0, -1]])
    assert heatmap_colours(np.full((2, 3), 4.0), 4, 4).shape == (2, 3, 3)


def test_a_map_lies_over_the_grey_frame_and_leaves_what_is_unknown() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (44, 66, 3), dtype=np.uint8)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    values = np.full((4, 6), 0.25, dtype=np.float32)
    values[:, 3:] = np.nan
    before = frame.copy()
    drawn = overlay_heatmap(frame, values, 0.0, 1.0, opacity=0.6)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(drawn[:, 33:], np.repeat(grey[:, 33:, None], 3, axis=2))
    expected = 0.4 * grey[:, :25, None] + 0.6 * heatmap_colours(np.array(0.25), 0, 1)
    np.testing.assert_allclose(drawn[:, :25], expected, atol=1)
    opaque = overlay_heatmap(frame, np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6), 0.0, 1.0, opacity=1.0)
    # The middle of a cell has the value of the cell.
    np.testing.assert_array_equal(opaque[5, 5], heatmap_colours(np.array(0.0), 0, 1))
    assert (np.diff(luminance(opaque[5, 5::11].astype(int))) > 0).all()


def test_the_scale_shows_all_colours_and_its_ends() -> None:
    bar = colour_bar(0.25, 0.75, "similarity", width=300)
    assert bar.shape[1] == 300
    row = bar[31]
    assert row[0].tolist() == [68, 1, 84]
    assert row[-1].tolist() == [253, 231, 37]
    assert (np.diff(luminance(row[::10].astype(int))) > 0).all()
    assert (bar != colour_bar(0.25, 0.85, "similarity", width=300)).any()


# --- arrows


def origins(cells: Sequence[Sequence[tuple[int, int]]], frames: Sequence[Sequence[int]]) -> Origins:
    """Return pixels (2, 2) and (7, 7) of a 10x10 grid, with two sources each, of weights 0.9 and 0.1."""
    return Origins(
        frame=3,
        context=(0, 1, 2),
        grid=(10, 10),
        cells=np.array([(2, 2), (7, 7)]),
        source_cells=np.array(cells),
        frames=np.array(frames),
        weights=np.array([(0.9, 0.1), (0.9, 0.1)], dtype=np.float32),
    )


def of_colour(picture: Picture, colour: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    return np.argwhere((picture == colour).all(-1))


def test_arrows_lead_to_the_sources_in_the_frames_asked_for() -> None:
    ground = np.full((400, 400, 3), 128, dtype=np.uint8)
    found = origins([[(2, 8), (8, 2)], [(7, 1), (7, 9)]], [[1, 2], [2, 2]])
    colours = COLOURS
    drawn = draw_origins(ground, found, colours, within=[1])
    assert (ground == 128).all()
    first = of_colour(drawn, colours[0])
    # From the cell (2, 2), at (100, 100), to (2, 8), at (100, 340); nothing else, and no ring of the other pixel.
    assert first[:, 0].min() > 80
    assert first[:, 0].max() < 120
    assert abs(first[:, 1].max() - 340) <= 3
    assert not len(of_colour(drawn, colours[1]))
    both = draw_origins(ground, found, colours, within=[1, 2])
    assert len(of_colour(both, colours[1])) > 100
    assert of_colour(both, colours[0])[:, 0].max() > 320
    # Arrows with larger weights are thicker: cut across the arrow to the right, and the one down.
    lines = np.stack([both[90:111, 220], both[220, 90:111]]).astype(int)
    across = (np.abs(lines - colours[0]).max(-1) < 80).sum(1)
    assert across[0] > across[1] >= 1


def test_without_frames_the_pixels_alone_are_marked() -> None:
    ground = np.full((400, 400, 3), 128, dtype=np.uint8)
    drawn = draw_origins(ground, origins([[(2, 2), (2, 3)], [(7, 7), (7, 7)]], [[1, 2], [2, 2]]), COLOURS)
    for position, colour in zip((100, 300), COLOURS, strict=True):
        marked = of_colour(drawn, colour)
        assert np.abs(marked - position).max() < 10
        np.testing.assert_allclose(marked.mean(0), position, atol=0.5)


def test_a_source_at_the_same_place_is_a_dot() -> None:
    ground = np.full((400, 400, 3), 128, dtype=np.uint8)
    found = origins([[(2, 2), (2, 2)], [(7, 9), (7, 9)]], [[1, 2], [2, 2]])
    drawn = draw_origins(ground, found, COLOURS, within=[1])
    np.testing.assert_array_equal(drawn[100, 100], COLOURS[0])


# --- columns, sheets


def test_columns_are_titled_and_movies_show_every_frame(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def flat(base: int) -> Column:
        def draw(frames: Sequence[int]) -> Iterator[Picture]:
            asked.append(list(frames))
            for frame in frames:
                yield np.full((60, 80, 3), (base + frame, 0, 200), dtype=np.uint8)

        return Column(title=f"column {base}", draw=draw)

    done: list[int] = []
    output = PictureOutput(base=tmp_path / "new" / "swan.v2-pca", frames=[0, 2, 4], fps=5, progress=done.append)
    names = [f"{frame:05d}" for frame in range(5)]
    sheet, movie = write_columns([flat(10), flat(100)], names, output, title="Swan")
    assert (sheet.name, movie.name) == ("swan.v2-pca.png", "swan.v2-pca.mp4")
    with Image.open(sheet) as image:
        picture = np.asarray(image)
    corners = {value: np.argwhere((picture == (value, 0, 200)).all(-1)) for value in (10, 12, 14, 100, 102, 104)}
    assert all(len(places) >= 60 * 80 for places in corners.values())
    tops = {value: places.min(0).tolist() for value, places in corners.items()}
    for frame in (0, 2, 4):  # a row a frame
        assert tops[10 + frame][0] == tops[100 + frame][0]
        assert tops[10 + frame][1] == tops[10][1] < tops[100][1] == tops[100 + frame][1]
    assert tops[10][0] < tops[12][0] < tops[14][0]
    frames = VideoFrames(movie)
    assert len(frames) == sum(done) == 5
    for index in range(5):
        shown = frames.read(index)
        top, left = tops[10]
        assert abs(float(shown[top : top + 60, left : left + 80, 0].mean()) - (10 + index)) < 6
    assert asked == [[0, 2, 4], [0, 2, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_sheets_have_headings_and_footers() -> None:
    pictures = [("", np.full((60, 200, 3), 9, dtype=np.uint8))] * 2
    plain = contact_sheet(pictures, columns=2)
    titled = contact_sheet(pictures, columns=2, headings=["left", "right"])
    more = titled.shape[0] - plain.shape[0]
    assert more > 10
    np.testing.assert_array_equal(titled[24 + more :], plain[24:])
    headings = titled[24 : 24 + more]
    assert (headings[:, :230] < 100).any()
    assert (headings[:, 230:] < 100).any()
    footer = np.full((30, 700, 3), 77, dtype=np.uint8)
    footed = contact_sheet(pictures, columns=2, footer=footer)
    assert (footed == 77).all(-1).sum() == 30 * 700
    assert footed.shape[1] == 748


def test_long_headings_stay_in_their_columns() -> None:
    pictures = [("", np.full((60, 100, 3), 9, dtype=np.uint8))] * 2
    sheet = contact_sheet(pictures, columns=2, headings=["a heading that is far too long for its column" * 3, ""])
    above = sheet[:50]
    assert (above[:, 24:124] < 100).any()
    assert (above[:, 130:] == 255).all()


@pytest.mark.parametrize("size", [(60, 80), (61, 83)])
def test_enlarging(size: tuple[int, int]) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    large = enlarge_cells(cells, size)
    assert large.shape == (*size, 3)
    assert len(np.unique(large.reshape(-1, 3), axis=0)) == 20
    assert max(enlarge_frame(large, 500).shape) == 500
    assert enlarge_frame(large, 50) is large
