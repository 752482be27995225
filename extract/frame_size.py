"""Size and value range of a backbone's input frames."""

import re
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..store.errors import ConfigError

#: Default short side of a frame in pixels (DIFT, TED).
DEFAULT_SHORT_SIDE = 480


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """Size to which frames are resized: exactly one of two rules.

    Attributes
    ----------
    short_side
        Length of the shorter side in pixels; the longer one follows from the frame's aspect ratio.
    exact
        (height, width) in pixels, regardless of the frame's aspect ratio.
    nearest
        Round sides to the nearest multiple that the backbone takes, instead of raising an error.
    """

    short_side: int | None = None
    exact: tuple[int, int] | None = None
    nearest: bool = False

    def __post_init__(self) -> None:
        if (self.short_side is None) == (self.exact is None):
            raise ConfigError("a frame size is either a short side or an exact height and width")
        if min(self.sides) < 1:
            raise ConfigError(f"frame size {self} must be at least 1 pixel")

    @property
    def sides(self) -> tuple[int, ...]:
        """One number (the short side) or two (height and width)."""
        return self.exact if self.exact is not None else (self.short_side or 0,)

    @classmethod
    def parse(cls, text: str) -> "FrameSize":
        """Parse ``"480"`` (short side) or ``"320x448"`` (height x width); ``"~560"`` means the nearest size.

        Raises
        ------
        ConfigError
            For anything else.
        """
        match = re.fullmatch(r"\s*(~?)\s*(\d{1,6})\s*(?:[xX]\s*(\d{1,6})\s*)?", text)
        if match is None:
            raise ConfigError(f"frame size {text!r} is neither a short side (480) nor HEIGHTxWIDTH (320x448)")
        nearest = bool(match[1])
        if match[3] is None:
            return cls(short_side=int(match[2]), nearest=nearest)
        return cls(exact=(int(match[2]), int(match[3])), nearest=nearest)

    def rounded(self, multiple: int) -> "FrameSize":
        """Return the size with each side rounded to the nearest multiple, at least one; ties round up."""
        sides = [max(1, (side + multiple // 2) // multiple) * multiple for side in self.sides]
        return FrameSize(exact=(sides[0], sides[1])) if self.exact is not None else FrameSize(short_side=sides[0])

    def __str__(self) -> str:
        return ("~" if self.nearest else "") + "x".join(map(str, self.sides))


def processed_size(size: tuple[int, int], frame_size: FrameSize | None = None, multiple: int = 32) -> tuple[int, int]:
    """Return the (height, width) that a frame is resized to, both multiples of the backbone's `frame_multiple`.

    DIFT's rule: the short side becomes `short_side`; the long side keeps the aspect ratio, rounded down to a multiple.
    The default short side is 480, or the nearest multiple below. Raises ConfigError when a side of `frame_size` is not
    a multiple and `FrameSize.nearest` is not set; the message has the nearest valid sizes.
    """
    if frame_size is None:
        frame_size = FrameSize(short_side=max(DEFAULT_SHORT_SIDE // multiple, 1) * multiple)
    if frame_size.nearest:
        frame_size = frame_size.rounded(multiple)
    sides = frame_size.sides
    if any(side % multiple for side in sides):
        below = FrameSize.parse("x".join(str(max(side // multiple, 1) * multiple) for side in sides))
        above = FrameSize.parse("x".join(str(-(-side // multiple) * multiple) for side in sides))
        nearest = f"{below}" if below == above else f"{below} or {above}"
        raise ConfigError(
            f"frame size {frame_size} is not a multiple of {multiple}, as the backbone needs; use {nearest}"
        )
    if frame_size.exact is not None:
        return frame_size.exact
    (height, width), short = size, sides[0]
    long = short * max(height, width) // min(height, width) // multiple * multiple
    return (long, short) if height > width else (short, long)


def to_pixels(frame: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize a frame (height, width, 3), RGB, to (3, height, width) in [-1, 1], float32.

    As DIFT does: `cv2.resize`, bilinear, on 8-bit values. `size` is (height, width) in pixels.
    """
    resized = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.transpose(2, 0, 1), dtype=np.float32) / np.float32(127.5) - np.float32(1)
