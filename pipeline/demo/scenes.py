"""The demo's videos: two identical objects that cross, and two that differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..datasets.davis import davis_video
from ..datasets.video import Video
from ..synthetic.rendering import render
from ..synthetic.scene import SceneSpec
from ..synthetic.sets import set_specs
from ..synthetic.writing import write_davis

__all__ = ["KINDS", "Kind", "make_videos"]

#: No video of the demo is among those that the models' settings were chosen by, or are reported on.
_SEED = 2


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of video.

    Attributes
    ----------
    title
        For people.
    set_name
        Set of `ted synth` that the videos are the first ones of.
    look
        Of the objects.
    """

    title: str
    set_name: str
    look: SceneSpec


KINDS: Mapping[str, Kind] = {
    "identical": Kind(
        title="two identical objects that cross", set_name="crossing", look=SceneSpec(identical=True, seed=_SEED)
    ),
    "distinct": Kind(
        title="two distinct objects", set_name="random", look=SceneSpec(identical=False, shape="mixed", seed=_SEED)
    ),
}


def make_videos(root: Path, count: int) -> dict[str, list[Video]]:
    """Make the videos in a DAVIS root; return them by their kind.

    Parameters
    ----------
    root
        Made if absent.
    count
        Videos of each kind.
    """
    made: dict[str, list[Video]] = {}
    for name, kind in KINDS.items():
        made[name] = []
        for number, spec in enumerate(set_specs(kind.set_name, count, kind.look).values(), start=1):
            clip = render(spec)
            write_davis(root, f"{name}-{number}", clip.frames, clip.masks)
            made[name].append(davis_video(root, f"{name}-{number}"))
    return made
