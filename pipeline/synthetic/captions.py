"""Captions of synthetic videos: objects named by colour and shape, and the kind of background."""

from collections.abc import Iterable

#: Names of hues, each with its hue in degrees.
HUES = {
    "red": 0,
    "orange": 30,
    "yellow": 60,
    "green": 120,
    "cyan": 180,
    "blue": 225,
    "purple": 270,
    "pink": 320,
}

#: All words of captions.
WORDS = (*HUES, "patched", "ball", "box", "diamond", "and", "on", "muted", "plain", "camouflage", "ground")


def hue_name(hue: float) -> str:
    """Return the name of the nearest hue; `hue` in degrees."""
    return min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))


def caption(names: Iterable[str], ground: str | None = None) -> str:
    """Return a caption such as ``red ball and blue box on muted ground``.

    `names` are those of the objects (`Clip.names`), `ground` is `SceneSpec.ground`.
    """
    objects = " and ".join(names)
    return objects if ground is None else f"{objects} on {ground} ground"
