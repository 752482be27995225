"""The window of the mask editor: passes events of matplotlib on, and shows the editor's picture."""

from ..pictures.clicking import mouse_position, open_window
from .editor import HELP, MaskEditor


def edit_in_window(editor: MaskEditor, title: str) -> None:
    """Edit masks until the user closes the window or presses q; the masks are the editor's.

    Raises
    ------
    ConfigError
        If matplotlib or a display is missing.
    """
    image = open_window(editor.draw(), title, instead="give boxes with --box X,Y,W,H, or masks with --from PATH")
    from matplotlib import pyplot
    from matplotlib.backend_bases import Event, KeyEvent, MouseButton, MouseEvent

    figure = image.axes.figure
    manager = figure.canvas.manager
    if manager is not None and manager.key_press_handler_id is not None:
        figure.canvas.mpl_disconnect(manager.key_press_handler_id)  # matplotlib's own keys: s saves a picture, p pans
    figure.text(0.5, 0.01, HELP, ha="center", fontsize=7)

    def show() -> None:
        image.set_data(editor.draw())
        image.axes.set_title(editor.status, fontsize=9)
        figure.canvas.draw_idle()

    def mouse(event: Event) -> None:
        if not isinstance(event, MouseEvent) or event.inaxes is not image.axes:
            return
        position = mouse_position(event)
        if event.name == "button_press_event":
            editor.press(*position, right=event.button == MouseButton.RIGHT)
        elif event.name == "button_release_event":
            editor.release(*position)
        else:
            editor.drag(*position)
        show()

    def key(event: Event) -> None:
        if isinstance(event, KeyEvent) and event.key == "q":
            pyplot.close(figure)
        elif isinstance(event, KeyEvent) and event.key is not None:
            editor.key(event.key)
            show()

    for name in ("button_press_event", "button_release_event", "motion_notify_event"):
        figure.canvas.mpl_connect(name, mouse)
    figure.canvas.mpl_connect("key_press_event", key)
    show()
    pyplot.show()
