"""Selection of a pixel with the mouse, in a hidden window that receives events."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backend_bases import MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ted.pipeline.pictures.clicking import clicked_pixel
from ted.store.errors import ConfigError

from ..conftest import Cli

PICTURE = np.zeros((30, 40, 3), np.uint8)


@pytest.fixture
def clicks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[tuple[float, float]]], None]:
    """Send clicks at (x, y) of the picture to the next window; the centre of the first pixel is (0, 0)."""

    def prepare(places: Sequence[tuple[float, float]]) -> None:
        def show() -> None:
            (number,) = pyplot.get_fignums()
            figure = pyplot.figure(number)
            figure.canvas.draw()
            for place in places:
                if pyplot.fignum_exists(number):
                    x, y = figure.axes[0].transData.transform(place)
                    figure.canvas.callbacks.process(
                        "button_press_event", MouseEvent("button_press_event", figure.canvas, x, y, button=1)
                    )
            pyplot.close(figure)

        monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "a test")
        monkeypatch.setattr(pyplot, "show", show)

    pyplot.switch_backend("agg")
    return prepare


@pytest.mark.parametrize(
    ("places", "pixel"),
    [
        ([(12.0, 7.0)], (12, 7)),
        ([(12.4, 6.6)], (12, 7)),
        ([(-0.4, -0.4)], (0, 0)),
        ([(39.4, 29.4)], (39, 29)),
        ([(500.0, 7.0), (3.0, 4.0), (9.0, 9.0)], (3, 4)),  # beside the picture, on it, after it was closed
    ],
)
def test_the_pixel_that_is_clicked(
    clicks: Callable[[Sequence[tuple[float, float]]], None],
    places: list[tuple[float, float]],
    pixel: tuple[int, int],
) -> None:
    clicks(places)
    assert clicked_pixel(PICTURE, "a video") == pixel
    assert not pyplot.get_fignums()


def test_no_click_no_display_no_matplotlib(
    clicks: Callable[[Sequence[tuple[float, float]]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no display for a window: name the pixel with --point"):
        clicked_pixel(PICTURE, "a video")
    assert not pyplot.get_fignums()
    clicks([])
    with pytest.raises(ConfigError, match="closed without a click"):
        clicked_pixel(PICTURE, "a video")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"a window needs matplotlib: .*pip install matplotlib"):
        clicked_pixel(PICTURE, "a video")


def test_a_click_is_a_point(
    cli: Cli,
    davis_source: Path,
    extracted: Path,
    tmp_path: Path,
    clicks: Callable[[Sequence[tuple[float, float]]], None],
) -> None:
    common = ("show", "similarity", davis_source, "--cache", extracted, "--videos", "one", "--radius", 3)
    clicks([(64.2, 39.9)])
    clicked = cli(*common, "--click", 1, "--out", tmp_path / "clicked")
    assert clicked.code == 0, clicked.err
    assert "one: --point 00001:64,40" in clicked.err
    assert cli(*common, "--point", "00001:64,40", "--out", tmp_path / "named").code == 0
    one, other = ((tmp_path / name / "one-similarity.png").read_bytes() for name in ("clicked", "named"))
    assert one == other
