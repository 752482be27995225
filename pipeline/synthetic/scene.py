"""What a synthetic video shows: a specification of objects, their motion and their background."""

from dataclasses import dataclass
from typing import Literal, get_args

from ...store.errors import ConfigError

__all__ = ["Arrangement", "Background", "Ground", "Hue", "Motion", "SceneSpec", "Shape", "Texture"]

Arrangement = Literal["near", "random", "crossing"]
Background = Literal["still", "moving"]
Ground = Literal["muted", "plain", "camouflage"]
Hue = Literal["drawn", "heading"]
Motion = Literal["straight", "curved", "bouncing"]
Shape = Literal["ball", "box", "diamond", "mixed"]
Texture = Literal["plain", "mottled", "patched"]


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """A video of moving objects. Equal specifications give equal videos.

    Attributes
    ----------
    frames
        Length of the video.
    size
        (height, width) in pixels.
    objects
        How many.
    radius
        Least and greatest radius in pixels, drawn for each object; one for all where they are identical. The radius of
        a box or a diamond is that of the ball of the same area.
    identical
        Whether the objects look the same: size, colour, texture and shape.
    hue
        ``"drawn"`` at random, or ``"heading"``: the angle of an object's motion from the first frame to the second,
        clockwise from the right, is its hue, so that colour and motion tell of each other. Objects that are identical
        stay so in all but hue.
    hue_step
        Degrees of hue between one object and the next, where they are not identical; by default the hues are spread
        evenly over the circle.
    texture
        Of the objects, moving with them: one colour, blotches of one colour, or patches of three colours.
    shape
        ``"mixed"`` draws one for each object, or one for all where they are identical.
    motion
        ``"straight"``, ``"curved"`` (circular arcs) and ``"bouncing"`` (straight, reflected at the edges). Straight and
        curved paths stay inside the frame.
    arrangement
        ``"near"``: objects never touch, yet stay close to each other. ``"random"``: paths know nothing of each other.
        ``"crossing"``: all paths meet in the middle third of the video, where objects hide each other, and part again.
        In all of them the objects are apart in the first frame.
    ground
        Look of the background: ``"muted"`` colours and soft blotches, ``"plain"``, one muted colour, or
        ``"camouflage"``, patches in the objects' own colours, so that a colour does not tell an object from the
        background.
    background
        ``"moving"``: it passes at a constant velocity.
    seed
        Of everything that is drawn. Videos that differ only in how objects look have the same paths, and the other way
        round.
    """

    frames: int = 16
    size: tuple[int, int] = (256, 256)
    objects: int = 2
    radius: tuple[float, float] = (26.0, 40.0)
    identical: bool = True
    hue: Hue = "drawn"
    hue_step: float | None = None
    texture: Texture = "mottled"
    shape: Shape = "ball"
    motion: Motion = "straight"
    arrangement: Arrangement = "random"
    ground: Ground = "muted"
    background: Background = "still"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.seed < 0:
            raise ConfigError("a synthetic video needs at least one frame and a seed of at least 0")
        if not 1 <= self.objects <= 255:
            raise ConfigError(f"a synthetic video shows 1 to 255 objects, not {self.objects}")
        if not 0 < self.radius[0] <= self.radius[1] or min(self.size) < 2 * self.radius[1] + 2:
            raise ConfigError(f"objects of radius {self.radius} do not fit into frames of {self.size} pixels")
        for name, known in (
            ("texture", Texture),
            ("shape", Shape),
            ("motion", Motion),
            ("arrangement", Arrangement),
            ("ground", Ground),
            ("background", Background),
            ("hue", Hue),
        ):
            if getattr(self, name) not in get_args(known):
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}; there are: {', '.join(get_args(known))}")
