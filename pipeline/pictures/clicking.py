"""Selection of a pixel with the mouse, in a matplotlib window."""

import importlib.util
import math

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError

__all__ = ["clicked_pixel"]


def clicked_pixel(picture: npt.NDArray[np.uint8], title: str) -> tuple[int, int]:
    """Show a picture (height, width, 3), RGB, in a window until the user clicks on a pixel; return its x and y.

    Raises
    ------
    ConfigError
        If matplotlib or a display is missing, or the window is closed without a click.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("clicking needs matplotlib: install it with python -m pip install matplotlib")
    from matplotlib import pyplot
    from matplotlib.backend_bases import Event, MouseEvent

    figure, axes = pyplot.subplots(num=title, layout="constrained")
    if figure.canvas.required_interactive_framework is None:
        pyplot.close(figure)
        raise ConfigError("there is no display to click on: name the pixel with --point FRAME:X,Y")
    axes.imshow(picture)
    axes.set_title("click on a pixel")
    axes.set_axis_off()
    height, width = picture.shape[:2]
    found: list[tuple[int, int]] = []

    def click(event: Event) -> None:
        if isinstance(event, MouseEvent) and event.inaxes is axes:
            # The centre of the first pixel is at (0, 0).
            x, y = (math.floor((value or 0) + 0.5) for value in (event.xdata, event.ydata))
            if 0 <= x < width and 0 <= y < height:
                found.append((x, y))
                pyplot.close(figure)

    figure.canvas.mpl_connect("button_press_event", click)
    pyplot.show()
    if not found:
        raise ConfigError("the window was closed without a click: click on a pixel, or name it with --point FRAME:X,Y")
    return found[0]
