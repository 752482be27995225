"""``ted synth``."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import get_args

import click

from ..choices.hints import plural
from ..synthetic.scene import Background, Ground, Hue, Motion, SceneSpec, Shape, Texture
from ..synthetic.sets import SETS
from .options import CONTEXT, LocalPath, json_option

_DEFAULT = SceneSpec()


class _Size(click.ParamType[tuple[int, int]]):
    name = "HEIGHTxWIDTH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        height, _, width = str(value).partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            self.fail(f"{value!r} is not HEIGHTxWIDTH, such as 256x256", param, ctx)
        return int(height), int(width)


def _field(name: str, values: object, help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option for a field of `SceneSpec` that takes one of several names."""
    option = f"--{name}"
    return click.option(option, type=click.Choice(get_args(values)), default=getattr(_DEFAULT, name), help=help_text)


@click.command(context_settings=CONTEXT)
@click.argument("root", type=LocalPath())
@click.option("--set", "sets", multiple=True, type=click.Choice([*SETS]), help="Set to make. Repeat.  [default: all]")
@click.option("--videos", type=click.IntRange(1, 100_000), default=30, help="Number of videos in each set.")
@click.option("--frames", type=click.IntRange(2, 100_000), default=_DEFAULT.frames, help="Number of frames of a video.")
@click.option("--size", type=_Size(), default="256x256", help="Size of the frames in pixels.")
@click.option("--objects", type=click.IntRange(1, 255), default=_DEFAULT.objects, help="Number of objects in a video.")
@click.option("--radius", type=(float, float), default=_DEFAULT.radius, help="Range of the objects' radii in pixels.")
@click.option("--identical/--distinct", default=True, help="Whether the objects of a video look the same.")
@_field("hue", Hue, "Random hues, or the direction of motion as hue.")
@click.option("--hue-step", type=float, help="Hue difference of distinct objects in degrees.  [default: spread evenly]")
@_field("texture", Texture, "Texture of the objects.")
@_field("shape", Shape, "Outline of the objects.")
@_field("motion", Motion, "Motion of the objects.")
@_field("ground", Ground, "Texture of the background.")
@_field("background", Background, "Whether the background moves.")
@click.option("--seed", type=click.IntRange(0, 99), default=0, help="0 to report results; others to choose settings.")
@click.option("--window", type=float, default=64.0, help="Half the side of the statistics' search window in pixels.")
@json_option
def synth(root: Path, sets: tuple[str, ...], videos: int, window: float, as_json: bool, **fields: object) -> None:
    """Make videos of similar-looking objects in ROOT, a DAVIS-2017 root.

    The sets are: near, objects that stay close and never touch; random, objects on independent paths; crossing,
    objects that pass in front of each other.

    Masks are exact. Tracks/<video>.json holds the objects' centres, points on them, and the visibility of the points.
    statistics.csv has, for each video, how often another object is inside the search window and how often objects
    overlap. Equal options give equal videos.
    """
    from ..runs.progress import FrameBars
    from ..synthetic.writing import make_sets

    base = SceneSpec(**fields)  # type: ignore[arg-type]
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
    if as_json:
        click.echo(json.dumps({"root": str(root), "videos": videos, "means": means}))
        return
    click.echo(f"{'set':<10}{'videos':>7}  other in window  overlapping  least visible  pixels/frame")
    for name, mean in means.items():
        click.echo(
            f"{name:<10}{videos:>7}{mean['in_window']:>16.0%}{mean['overlapping']:>13.0%}"
            f"{mean['least_visible']:>15.0%}{mean['speed']:>14.1f}"
        )
    click.echo(f"made {plural(len(made), 'video')} in {root}")
    click.echo(
        f"next: ted extract {root} --set {chosen[0]} --frame-size 256 --feature demo-video:700:up_blocks[1] "
        "--feature demo-image:20:up_blocks[2]"
    )
