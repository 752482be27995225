"""A hidden window that receives events."""

from collections.abc import Callable

import pytest
from matplotlib import pyplot
from matplotlib.backend_bases import KeyEvent, MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture
def hidden_window(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that takes the events of the next window: name and x, y in matplotlib's data, or name, key."""

    def prepare(*events: tuple[str, object] | tuple[str, float, float]) -> None:
        def show() -> None:
            (number,) = pyplot.get_fignums()
            figure = pyplot.figure(number)
            figure.canvas.draw()
            for name, *values in events:
                if not pyplot.fignum_exists(number):
                    break
                if name == "key_press_event":
                    event: KeyEvent | MouseEvent = KeyEvent(name, figure.canvas, values[0])
                else:
                    event = MouseEvent(name, figure.canvas, *figure.axes[0].transData.transform(values), button=1)
                figure.canvas.callbacks.process(name, event)
            pyplot.close(figure)

        monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "a test")
        monkeypatch.setattr(pyplot, "show", show)

    pyplot.switch_backend("agg")
    return prepare
