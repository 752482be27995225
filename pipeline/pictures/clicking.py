"""Windows of matplotlib with a picture, and the selection of a pixel in one."""

import importlib.util
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.image import AxesImage


def open_window(picture: npt.NDArray[np.uint8], title: str, *, instead: str) -> "AxesImage":
    """Open a window with a picture; ``pyplot.show()`` then waits until it is closed.

    Parameters
    ----------
    picture
        (height, width, 3), RGB.
    title
        Title of the window.
    instead
        What the user can do without a window, for the error.

    Raises
    ------
    ConfigError
        If matplotlib or a display is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(f"a window needs matplotlib: python -m pip install matplotlib, or {instead}")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(num=title, layout="constrained")
    if figure.canvas.required_interactive_framework is None:
        pyplot.close(figure)
        raise ConfigError(f"there is no display for a window: {instead}")
    axes.set_axis_off()
    image: AxesImage = axes.imshow(picture)
    return image


def mouse_position(event: "MouseEvent") -> tuple[float, float]:
    """Return x and y of the mouse; pixel i of the picture covers [i, i + 1)."""
    # matplotlib has the centre of the first pixel at (0, 0).
    return (event.xdata or 0) + 0.5, (event.ydata or 0) + 0.5


def clicked_pixel(picture: npt.NDArray[np.uint8], title: str) -> tuple[int, int]:
    """Show a picture (height, width, 3), RGB, in a window until the user clicks on a pixel; return its x and y.

    Raises
    ------
    ConfigError
        If matplotlib or a display is missing, or the window is closed without a click.
    """
    image = open_window(picture, title, instead="name the pixel with --point FRAME:X,Y")
    from matplotlib import pyplot
    from matplotlib.backend_bases import Event, MouseEvent

    image.axes.set_title("click on a pixel")
    height, width = picture.shape[:2]
    found: list[tuple[int, int]] = []

    def click(event: Event) -> None:
        if isinstance(event, MouseEvent) and event.inaxes is image.axes:
            x, y = map(math.floor, mouse_position(event))
            if 0 <= x < width and 0 <= y < height:
                found.append((x, y))
                pyplot.close(event.canvas.figure)

    image.axes.figure.canvas.mpl_connect("button_press_event", click)
    pyplot.show()
    if not found:
        raise ConfigError("the window was closed without a click: click on a pixel, or name it with --point FRAME:X,Y")
    return found[0]
