"""``ted synth``."""

import dataclasses
import json
from pathlib import Path
from statistics import fmean
from typing import get_args

import click

from ..synthetic.scene import Background, Ground, Hue, Motion, SceneSpec, Shape, Texture
from ..synthetic.sets import SETS
from .options import CONTEXT, json_option

_DEFAULT = SceneSpec()


class _Size(click.ParamType[tuple[int, int]]):
    name = "HEIGHTxWIDTH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        height, _, width = str(value).partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            self.fail(f"{value!r} is not HEIGHTxWIDTH, such as 256x256", param, ctx)
        return int(height), int(width)


@click.command(context_settings=CONTEXT)
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, type=click.Choice([*SETS]), help="Sets to make; all by default.")
@click.option("--videos", type=click.IntRange(1, 100_000), default=30, help="Videos in each set.")
@click.option("--frames", type=click.IntRange(2, 100_000), default=_DEFAULT.frames, help="Frames of a video.")
@click.option("--size", type=_Size(), default="256x256", help="Of the frames, in pixels.")
@click.option("--objects", type=click.IntRange(1, 255), default=_DEFAULT.objects, help="Objects of a video.")
@click.option("--radius", type=(float, float), default=_DEFAULT.radius, help="Least and greatest radius, in pixels.")
@click.option("--identical/--distinct", default=True, help="Whether the objects of a video look the same.")
@click.option(
    "--hue", type=click.Choice(get_args(Hue)), default=_DEFAULT.hue, help="Drawn, or the angle of the motion."
)
@click.option("--hue-step", type=float, help="Degrees of hue between distinct objects.  [default: spread evenly]")
@click.option("--texture", type=click.Choice(get_args(Texture)), default=_DEFAULT.texture, help="Of the objects.")
@click.option("--shape", type=click.Choice(get_args(Shape)), default=_DEFAULT.shape, help="Of the objects.")
@click.option("--motion", type=click.Choice(get_args(Motion)), default=_DEFAULT.motion, help="Of the objects.")
@click.option("--ground", type=click.Choice(get_args(Ground)), default=_DEFAULT.ground, help="Look of the background.")
@click.option(
    "--background", type=click.Choice(get_args(Background)), default=_DEFAULT.background, help="Whether it moves."
)
@click.option("--seed", type=click.IntRange(0, 99), default=0, help="0 for results to report, others to choose by.")
@click.option("--window", type=float, default=64.0, help="Search window of the statistics: half its side, in pixels.")
@json_option
def synth(
    root: Path,
    sets: tuple[str, ...],
    videos: int,
    window: float,
    as_json: bool,
    **fields: object,
) -> None:
    """Make videos of similar-looking objects in ROOT, a DAVIS-2017 root.

    The sets: near, objects close to each other that never touch; random, objects that know nothing of each other;
    crossing, objects that pass in front of each other.

    Masks are exact. Tracks/<video>.json holds the centres, points on the objects and where they are visible;
    statistics.csv tells for each video how often another object is inside the search window, and how often objects
    overlap. Equal options give equal videos.
    """
    from ..runs.progress import FrameBars
    from ..synthetic.making import make_sets

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
    click.echo(
        f"next: ted extract {root} --set {chosen[0]} --frame-size 256 --feature demo-video:700:up_blocks[1] "
        "--feature demo-image:20:up_blocks[2]"
    )
