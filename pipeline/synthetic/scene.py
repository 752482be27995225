"""Specification of a synthetic video: objects, their motion and their background."""

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from ...store.errors import ConfigError

Arrangement = Literal["near", "random", "crossing"]
Background = Literal["still", "moving"]
Ground = Literal["muted", "plain", "camouflage"]
Hue = Literal["drawn", "heading"]
Motion = Literal["straight", "curved", "bouncing"]
Shape = Literal["ball", "box", "diamond", "mixed"]
Texture = Literal["plain", "mottled", "patched"]


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """Specification of a video of moving objects. Equal specifications give equal videos."""

    frames: int = 16  # number of frames
    size: tuple[int, int] = (256, 256)  # (height, width) in pixels
    objects: int = 2  # number of objects
    # range of radii in pixels. Each object has a random one; identical objects share it. The radius of a box or a
    # diamond is that of the ball of the same area.
    radius: tuple[float, float] = (26.0, 40.0)
    identical: bool = True  # whether the objects have the same size, colour, texture and shape
    # ``"drawn"``: random. ``"heading"``: the angle of an object's motion from the first frame to the second,
    # clockwise from the right, so that colour and motion predict each other; identical objects differ only in it.
    hue: Hue = "drawn"
    # difference in hue between distinct objects, in degrees; by default hues are spread evenly over the circle
    hue_step: float | None = None
    # texture of the objects, which moves with them: one colour, blotches of one colour, or three colours in patches
    texture: Texture = "mottled"
    shape: Shape = "ball"  # ``"mixed"`` draws a shape for each object, or one for all identical objects
    # ``"straight"``, ``"curved"`` (circular arcs) or ``"bouncing"`` (straight, reflected at the edges). Straight
    # and curved paths stay inside the frame.
    motion: Motion = "straight"
    # ``"near"``: objects stay close to each other and never touch. ``"random"``: paths are independent.
    # ``"crossing"``: all paths meet in the middle third of the video, where objects occlude each other, and part
    # again. Objects are always apart in the first frame.
    arrangement: Arrangement = "random"
    # texture of the background: ``"muted"`` colours and soft blotches; ``"plain"``, one muted colour; or
    # ``"camouflage"``, patches in the colours of the objects, so that colour does not separate them from it
    ground: Ground = "muted"
    background: Background = "still"  # ``"still"``, or ``"moving"`` at a constant velocity
    seed: int = 0  # random seed. Paths and appearance have separate generators: changing one leaves the other as it is.

    def __post_init__(self) -> None:
        if self.frames < 1 or self.seed < 0:
            raise ConfigError("a synthetic video needs at least one frame and a seed of at least 0")
        if not 1 <= self.objects <= 255:
            raise ConfigError(f"a synthetic video shows 1 to 255 objects, not {self.objects}")
        if not 0 < self.radius[0] <= self.radius[1] or min(self.size) < 2 * self.radius[1] + 2:
            raise ConfigError(f"objects of radius {self.radius} do not fit into frames of {self.size} pixels")
        for name, kind in get_type_hints(SceneSpec).items():
            known = get_args(kind)
            if get_origin(kind) is Literal and getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}; there are: {', '.join(known)}")
