"""The mask editor, by events alone."""

from collections.abc import Callable

import numpy as np
import pytest

from ted.pipeline.annotating.editor import MaskEditor
from ted.pipeline.annotating.segmenters import Prompt, fill_box

SIZE = (60, 80)
NAMES = tuple(f"{index:05d}" for index in range(30))


class Recorder:
    """A segmenter that keeps the prompts, and fills boxes, or squares around clicks."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def __call__(self, picture: np.ndarray, prompt: Prompt) -> np.ndarray:
        self.prompts.append(prompt)
        mask = fill_box(picture, prompt)
        for x, y, inside in prompt.points:
            mask[y - 2 : y + 3, x - 2 : x + 3] = inside
        return mask


@pytest.fixture
def segment() -> Recorder:
    return Recorder()


@pytest.fixture
def editor(segment: Recorder) -> MaskEditor:
    return MaskEditor(lambda index: np.full((*SIZE, 3), index, np.uint8), NAMES, segment)


def drag(editor: MaskEditor, *path: tuple[float, float], right: bool = False) -> None:
    editor.press(*path[0], right=right)
    for position in path[1:]:
        editor.drag(*position)
    editor.release(*path[-1])


def box(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def test_boxes_of_several_objects_in_several_frames(editor: MaskEditor, segment: Recorder) -> None:
    drag(editor, (10.4, 5.2), (30, 20), (29.8, 24.7))
    editor.key("n")
    assert editor.number == 2
    drag(editor, (500, 50), (60.5, 40.5))  # from outside of the frame, to the upper left
    assert segment.prompts == [Prompt(box=(10, 5, 20, 20)), Prompt(box=(60, 40, 20, 10))]
    editor.key("right")
    editor.key("1")
    drag(editor, (0, 0), (10, 10))
    assert list(editor.masks) == [0, 1]
    np.testing.assert_array_equal(editor.masks[0], box(10, 5, 20, 20) + 2 * box(60, 40, 20, 10))
    np.testing.assert_array_equal(editor.masks[1], box(0, 0, 10, 10))
    assert editor.status == "frame 00001   object 1   box   (objects 1, 2 in 2 of the frames)"
    drag(editor, (20, 20), (30, 30))  # another box of the same object replaces the first
    np.testing.assert_array_equal(editor.masks[1], box(20, 20, 10, 10))
    drag(editor, (5, 5), (5.5, 5.5))
    assert "draw a box" in editor.status


def test_undo_and_clear(editor: MaskEditor) -> None:
    drag(editor, (10, 10), (20, 20))
    first = editor.masks[0]
    drag(editor, (30, 30), (50, 50))
    editor.key("x")
    assert editor.masks == {}
    editor.key("u")
    np.testing.assert_array_equal(editor.masks[0], box(30, 30, 20, 20))
    editor.key("ctrl+z")
    np.testing.assert_array_equal(editor.masks[0], first)
    editor.key("u")
    assert (editor.masks, editor.message) == ({}, "")
    editor.key("u")
    assert editor.message == "nothing to undo"


def test_polygon(editor: MaskEditor) -> None:
    editor.key("p")
    for position in ((10, 10), (30, 10), (30, 30), (70, 55), (10, 30)):
        editor.press(*position)
        editor.release(*position)
    editor.key("u")  # takes back the last point
    editor.key("u")
    editor.press(10, 30)
    editor.key("enter")
    np.testing.assert_array_equal(editor.masks[0], box(10, 10, 20, 20))
    for position in ((40, 10), (60, 10), (60, 30), (40, 30)):  # a second part of the object
        editor.press(*position)
    editor.press(0, 0, right=True)
    np.testing.assert_array_equal(editor.masks[0], box(10, 10, 20, 20) | box(40, 10, 20, 20))
    editor.press(1, 1)
    editor.key("enter")
    assert editor.message == "a polygon needs three points"
    editor.press(1, 1)
    editor.key("escape")
    editor.key("enter")
    assert editor.message == ""
    np.testing.assert_array_equal(editor.masks[0], box(10, 10, 20, 20) | box(40, 10, 20, 20))


def test_brush_draws_and_erases(editor: MaskEditor) -> None:
    editor.key("d")
    editor.brush = 4
    drag(editor, (20, 20), (50, 20))
    drawn = editor.masks[0] == 1
    assert drawn[20, 18:53].all()
    assert drawn[17:24, 20:51].all()
    assert not drawn[:15].any()
    assert not drawn[26:].any()
    drag(editor, (35, 10), (35, 30), right=True)
    assert not (editor.masks[0] == 1)[:, 33:38].any()
    editor.drag(70, 50)  # no button is held
    assert not (editor.masks[0] == 1)[40:].any()
    editor.key("u")
    np.testing.assert_array_equal(editor.masks[0] == 1, drawn)
    before = editor.brush
    editor.key("+")
    assert editor.brush > before
    editor.key("-")
    assert editor.brush == pytest.approx(before)


def test_an_object_keeps_out_of_the_other(editor: MaskEditor) -> None:
    drag(editor, (10, 10), (30, 30))
    editor.key("2")
    editor.key("d")
    editor.brush = 3
    drag(editor, (20, 20), (20, 20))
    editor.key("x")
    assert (editor.masks[0] == 2).sum() == 0
    assert 0 < (editor.masks[0] == 1).sum() < 400  # pixels that the brush took are no longer object 1's


def test_clicks_refine_a_box(editor: MaskEditor, segment: Recorder) -> None:
    editor.key("c")
    editor.press(30, 30, right=True)
    assert "on the object first" in editor.message
    editor.press(30.9, 30.2)
    editor.press(50, 50)
    editor.press(31, 31, right=True)
    assert segment.prompts[-1].points == ((30, 30, True), (50, 50, True), (31, 31, False))
    editor.key("u")
    editor.press(10, 10)
    assert segment.prompts[-1].points == ((30, 30, True), (50, 50, True), (10, 10, True))
    editor.key("b")
    drag(editor, (5, 5), (60, 55))
    assert segment.prompts[-1] == Prompt(box=(5, 5, 55, 50), points=segment.prompts[-2].points)
    editor.key("right")  # another frame has prompts of its own
    editor.key("c")
    editor.press(30, 30)
    assert segment.prompts[-1] == Prompt(points=((30, 30, True),))


def test_frames_and_masks_to_begin_with(segment: Recorder) -> None:
    read: list[int] = []

    def frame(index: int) -> np.ndarray:
        read.append(index)
        return np.full((*SIZE, 3), index, np.uint8)

    before = {3: (3 * box(0, 0, 5, 5)).astype(np.uint8)}
    editor = MaskEditor(frame, NAMES, segment, before, frame=3)
    assert (editor.draw()[2, 2] != 3).any()
    assert (editor.draw()[30, 30] == 3).all()
    editor.key("n")
    assert editor.number == 4
    for key, index in (("pagedown", 13), ("pagedown", 23), ("pagedown", 29), ("left", 28), ("pageup", 18)):
        editor.key(key)
        assert (editor.frame, read[-1]) == (index, index)
    drag(editor, (10, 10), (20, 20))
    assert list(editor.masks) == [3, 18]
    assert before[3].max() == 3


@pytest.mark.parametrize("tool", ["b", "p", "d", "c"])
def test_what_is_being_drawn_is_seen(editor: MaskEditor, tool: str) -> None:
    plain = editor.draw()
    editor.key(tool)
    editor.press(20, 20)
    editor.drag(40, 35)
    assert (editor.draw() != plain).any()


def test_window(editor: MaskEditor, segment: Recorder, hidden_window: Callable[..., None]) -> None:
    from ted.pipeline.annotating.window import edit_in_window

    hidden_window(
        ("button_press_event", 9.5, 4.5), ("motion_notify_event", 15, 15), ("button_release_event", 29.5, 24.5),
        ("key_press_event", "2"), ("key_press_event", "c"), ("button_press_event", 49.6, 39.6),
        ("key_press_event", "q"), ("key_press_event", "x"),
    )  # fmt: skip
    edit_in_window(editor, "a video")
    assert segment.prompts == [Prompt(box=(10, 5, 20, 20)), Prompt(points=((50, 40, True),))]
    assert set(np.unique(editor.masks[0])) == {0, 1, 2}
