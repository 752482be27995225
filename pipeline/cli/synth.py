"""``ted synth``."""

import dataclasses
from pathlib import Path
from statistics import fmean

import click

from ..choices.hints import plural
from ..synthetic.scene import Background, Ground, Hue, Motion, SceneSpec, Shape, Texture
from ..synthetic.sets import SETS
from .base import Options, answer, arg, command, next_command, opt
from .options import at_least

_DEFAULT = SceneSpec()


class _Size(click.ParamType[tuple[int, int]]):
    name = "HEIGHTxWIDTH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        height, _, width = str(value).partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            self.fail(f"{value!r} is not HEIGHTxWIDTH, such as 256x256", param, ctx)
        return int(height), int(width)


class SceneChoice(Options, title="Scene"):
    """Fields of `SceneSpec`."""

    frames: int = opt("Number of frames of a video.", _DEFAULT.frames, type=at_least(2, 100_000))
    size: tuple[int, int] = opt("Size of the frames in pixels.", "256x256", type=_Size())
    objects: int = opt("Number of objects in a video.", _DEFAULT.objects, type=at_least(1, 255))
    radius: tuple[float, float] = opt("Range of the objects' radii in pixels.", _DEFAULT.radius)
    identical: bool = opt("Whether the objects of a video look the same.", True, flag="--identical/--distinct")
    hue: Hue = opt("Random hues, or the direction of motion as hue.", _DEFAULT.hue)
    hue_step: float | None = opt("Hue difference of distinct objects in degrees.  [default: spread evenly]")
    texture: Texture = opt("Texture of the objects.", _DEFAULT.texture)
    shape: Shape = opt("Outline of the objects.", _DEFAULT.shape)
    motion: Motion = opt("Motion of the objects.", _DEFAULT.motion)
    ground: Ground = opt("Texture of the background.", _DEFAULT.ground)
    background: Background = opt("Whether the background moves.", _DEFAULT.background)
    seed: int = opt("Use 0 to report results, and others to choose settings.", 0, type=at_least(0, 99))


@command(json=True)
def synth(
    scene: SceneChoice,
    root: Path = arg("ROOT"),
    sets: tuple[str, ...] = opt(
        "Set to make. Repeat.  [default: all]", flag="--set", type=click.Choice([*SETS]), title="Videos"
    ),
    videos: int = opt("Number of videos in each set.", 30, type=at_least(1, 100_000)),
    window: float = opt("Half the side of the statistics' search window in pixels.", 64.0),
) -> None:
    """Make videos of similar-looking objects in ROOT, a DAVIS-2017 root.

    The sets are: near, objects that stay close and never touch; random, objects on independent paths; crossing,
    objects that pass in front of each other.

    Masks are exact. Tracks/<video>.json holds the objects' centres, points on them, and the visibility of the points.
    statistics.csv has, for each video, how often another object is inside the search window and how often objects
    overlap. Equal options give equal videos.

    For example:
        ted synth videos
        ted synth videos --set crossing --videos 5 --objects 3
        ted synth videos --distinct --motion bouncing --seed 1
    """
    from ..runs.progress import FrameBars
    from ..synthetic.writing import make_sets

    base = SceneSpec(**vars(scene))
    chosen = sets or tuple(SETS)
    with FrameBars() as bars:
        made = list(
            make_sets(root, chosen, videos, base, window=window, progress=bars.start("videos", videos * len(chosen)))
        )
    means = {
        name: {
            field.name: fmean(getattr(video.statistics, field.name) for video in made if video.set_name == name)
            for field in dataclasses.fields(made[0].statistics)
        }
        for name in chosen
    }
    answer(
        {"root": str(root), "videos": videos, "means": means},
        f"{'set':<10}{'videos':>7}  other in window  overlapping  least visible  pixels/frame",
        *(
            f"{name:<10}{videos:>7}{mean['in_window']:>16.0%}{mean['overlapping']:>13.0%}"
            f"{mean['least_visible']:>15.0%}{mean['speed']:>14.1f}"
            for name, mean in means.items()
        ),
        f"made {plural(len(made), 'video')} in {root}",
        then=[
            next_command(
                "extract",
                sources=[root],
                set_name=chosen[0],
                frame_size="256",
                features=["demo-video:700:up_blocks[1]", "demo-image:20:up_blocks[2]"],
            )
        ],
    )
