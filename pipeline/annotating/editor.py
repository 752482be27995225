"""Masks of a video's frames, edited by events of a mouse and a keyboard; no window is needed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError
from ..formats.geometry import polygons_to_mask
from ..pictures.overlay import overlay_mask
from ..pictures.palette import display_palette
from .segmenters import Prompt, Segmenter

Tool = Literal["box", "polygon", "brush", "click"]

#: Keys, for people.
HELP = (
    "b box, p polygon (enter closes), d draw (right button erases), c click (right button: not the object)   "
    "1-9 object, n next object, x clear object   left/right frame, pageup/pagedown 10   +/- brush   u undo   q done"
)

_TOOLS: Mapping[str, Tool] = {"b": "box", "p": "polygon", "d": "brush", "c": "click"}
_STEPS = {"left": -1, "right": 1, "pageup": -10, "pagedown": 10}
_MOST_OBJECTS = 254

_Ids = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _State:
    """What undo brings back: object numbers by frame, and prompts by frame and object."""

    masks: Mapping[int, _Ids] = field(default_factory=dict)
    prompts: Mapping[tuple[int, int], Prompt] = field(default_factory=dict)


class MaskEditor:
    """An editor of masks.

    Positions are x and y in pixels of the frame; pixel i covers [i, i + 1). Positions outside of the frame are moved to
    its edge.

    Parameters
    ----------
    read
        Returns a frame by its index: (height, width, 3), uint8, RGB.
    names
        Names of the frames.
    segment
        Makes a mask from a box or clicks.
    masks
        Masks to begin with: (height, width), object numbers, by index of the frame.
    frame
        Index of the frame that is shown first.

    Attributes
    ----------
    frame, number, tool, brush
        Index of the frame, number of the object, the tool, and the brush's radius in pixels.
    message
        What went wrong in the last event; empty if nothing.
    """

    def __init__(
        self,
        read: Callable[[int], npt.NDArray[np.uint8]],
        names: Sequence[str],
        segment: Segmenter,
        masks: Mapping[int, _Ids] | None = None,
        *,
        frame: int = 0,
    ) -> None:
        self._read, self._names, self._segment = read, names, segment
        self._state = _State(dict(masks or {}))
        self._history: list[_State] = []
        self._line: list[tuple[float, float]] = []  # a box's corner, a polygon's points or a brush's last position
        self._here: tuple[float, float] = (0, 0)
        self._held: Literal["", "draw", "erase"] = ""
        self._picture = read(frame)
        self.frame, self.number = frame, 1
        self.tool: Tool = "box"
        self.brush = max(2.0, min(self._picture.shape[:2]) / 40)
        self.message = ""

    @property
    def masks(self) -> dict[int, _Ids]:
        """Object numbers (height, width), uint8, by index of the frame, rising; only frames that show an object."""
        return {frame: ids for frame, ids in sorted(self._state.masks.items()) if ids.any()}

    @property
    def status(self) -> str:
        """The frame, the object and the tool, in one line."""
        objects = sorted({int(number) for ids in self.masks.values() for number in np.unique(ids)} - {0})
        made = (
            f"objects {', '.join(map(str, objects))} in {len(self.masks)} of the frames" if objects else "no mask yet"
        )
        line = f"frame {self._names[self.frame]}   object {self.number}   {self.tool}   ({made})"
        return f"{line}   {self.message}" if self.message else line

    def press(self, x: float, y: float, *, right: bool = False) -> None:
        """Press a mouse button; the right one erases, says what is not the object, and closes a polygon."""
        self.message = ""
        x, y = self._inside(x, y)
        if self.tool == "polygon":
            if right:
                self._close_polygon()
            else:
                self._line.append((x, y))
        elif self.tool == "click":
            known = self._prompt()
            self._prompt_object(replace(known, points=(*known.points, (int(x), int(y), not right))))
        elif self.tool == "brush":
            self._remember()
            self._held, self._line = "erase" if right else "draw", [(x, y)]
            self._paint(x, y)
        elif not right:
            self._held, self._line = "draw", [(x, y)]
        self._here = (x, y)

    def drag(self, x: float, y: float) -> None:
        """Move the mouse, with a button held or not."""
        self._here = self._inside(x, y)
        if self._held and self.tool == "brush":
            self._paint(*self._here)

    def release(self, x: float, y: float) -> None:
        """Release a mouse button."""
        if not self._held:
            return
        x, y = self._inside(x, y)
        start, self._held = self._line[0], ""
        self._line = []
        if self.tool == "box":
            left, right = int(min(start[0], x)), math.ceil(max(start[0], x))
            top, bottom = int(min(start[1], y)), math.ceil(max(start[1], y))
            if right - left < 2 or bottom - top < 2:
                self.message = "hold the button, and draw a box around the object"
            else:
                self._prompt_object(replace(self._prompt(), box=(left, top, right - left, bottom - top)))

    def key(self, name: str) -> None:
        """Press a key, by matplotlib's name of it."""
        self.message = ""
        if name in _TOOLS:
            self._cancel()
            self.tool = _TOOLS[name]
        elif name in _STEPS:
            self._cancel()
            self.frame = min(max(self.frame + _STEPS[name], 0), len(self._names) - 1)
            self._picture = self._read(self.frame)
        elif len(name) == 1 and name in "123456789":
            self.number = int(name)
        elif name == "n":
            used = [int(ids.max()) for ids in self._state.masks.values()]
            self.number = min(max([0, *used]) + 1, _MOST_OBJECTS)
        elif name in ("u", "ctrl+z", "backspace"):
            if self._line:
                self._line.pop()
            elif self._history:
                self._state = self._history.pop()
            else:
                self.message = "nothing to undo"
        elif name == "x":
            self._remember()
            self._set(np.zeros(self._picture.shape[:2], np.bool_))
            self._set_prompt(Prompt())
        elif name == "enter":
            self._close_polygon()
        elif name == "escape":
            self._cancel()
        elif name in ("+", "=", "-"):
            self.brush = min(max(self.brush * (0.8 if name == "-" else 1.25), 1), max(self._picture.shape[:2]) / 4)

    def draw(self) -> npt.NDArray[np.uint8]:
        """Draw the frame with its mask and what is being drawn: (height, width, 3), RGB."""
        ids = self._state.masks.get(self.frame)
        picture = self._picture.copy() if ids is None else overlay_mask(self._picture, ids)
        colour = [int(value) for value in display_palette()[self.number]]
        width = max(1, round(min(picture.shape[:2]) / 300))
        points = [(int(x), int(y)) for x, y in (*self._line, self._here)]
        if self.tool == "box" and self._held:
            cv2.rectangle(picture, points[0], points[-1], colour, width)
        elif self.tool == "polygon" and self._line:
            cv2.polylines(picture, [np.array(points)], False, colour, width, cv2.LINE_AA)
        elif self.tool == "brush":
            cv2.circle(picture, points[-1], max(1, round(self.brush)), colour, width, cv2.LINE_AA)
        for x, y, inside in self._prompt().points if self.tool == "click" else ():
            cv2.circle(picture, (x, y), 3 * width, (255, 255, 255) if inside else (0, 0, 0), -1, cv2.LINE_AA)
        return picture

    def _inside(self, x: float, y: float) -> tuple[float, float]:
        height, width = self._picture.shape[:2]
        return min(max(x, 0.0), width - 0.01), min(max(y, 0.0), height - 0.01)

    def _prompt(self) -> Prompt:
        return self._state.prompts.get((self.frame, self.number), Prompt())

    def _prompt_object(self, prompt: Prompt) -> None:
        """Segment the object again, with a changed prompt."""
        if prompt.box is None and not any(inside for _, _, inside in prompt.points):
            self.message = "click on the object first, with the left button"
            return
        found = self._segment(self._picture, prompt)
        self._remember()
        self._set(found)
        self._set_prompt(prompt)

    def _close_polygon(self) -> None:
        points, self._line = self._line, []
        if self.tool != "polygon" or not points:
            return
        try:
            found = polygons_to_mask([[value for point in points for value in point]], self._picture.shape[:2])
        except LabelError:
            self.message = "a polygon needs three points"
            return
        self._remember()
        self._set(found | (self._ids() == self.number))

    def _paint(self, x: float, y: float) -> None:
        """Draw or erase along the line from the brush's last position."""
        stroke = np.zeros(self._picture.shape[:2], np.uint8)
        start, self._line = self._line[-1], [(x, y)]
        ends = [(int(at_x), int(at_y)) for at_x, at_y in (start, (x, y))]
        cv2.line(stroke, ends[0], ends[1], 1, max(1, round(2 * self.brush)))
        for end in ends:
            cv2.circle(stroke, end, round(self.brush), 1, -1)
        mine = self._ids() == self.number
        self._set(mine | (stroke > 0) if self._held == "draw" else mine & (stroke == 0))

    def _ids(self) -> _Ids:
        return self._state.masks.get(self.frame, np.zeros(self._picture.shape[:2], np.uint8))

    def _set(self, mask: _Mask) -> None:
        """Give the object these pixels in this frame, and no others."""
        ids = self._ids().copy()
        ids[ids == self.number] = 0
        ids[mask] = self.number
        self._state = replace(self._state, masks={**self._state.masks, self.frame: ids})

    def _set_prompt(self, prompt: Prompt) -> None:
        self._state = replace(self._state, prompts={**self._state.prompts, (self.frame, self.number): prompt})

    def _remember(self) -> None:
        self._history.append(self._state)

    def _cancel(self) -> None:
        self._line, self._held = [], ""
