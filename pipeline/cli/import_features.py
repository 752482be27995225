"""``ted import``."""

import shlex
from pathlib import Path
from typing import Any

import click

from ..choices.hints import plural
from .options import CONTEXT, LocalPath, cache_option, config_option, open_videos, source_options


@click.command("import", context_settings=CONTEXT)
@source_options
@cache_option
@click.option("--arrays", type=LocalPath(), required=True, help="Folder with VIDEO.npy or VIDEO.pt.")
@click.option("--name", required=True, help="Name of the backbone: BACKBONE in the features' notation.")
@click.option("--timestep", type=click.IntRange(min=0), default=0, help="Timestep of the features.")
@click.option("--tap", default="features", help="TAP of the features.")
@click.option(
    "--layout",
    type=click.Choice(["fcyx", "fyxc"]),
    default="fcyx",
    help="Order of axes: frame, channel, y, x, or frame, y, x, channel.",
)
@click.option(
    "--frame-size",
    default="480",
    help="Size of the frames that the features were computed from: short side, or HEIGHTxWIDTH.",
)
@click.option("--overwrite", is_flag=True, help="Replace complete units.")
@config_option
def import_features(
    cache: Path,
    arrays: Path,
    name: str,
    timestep: int,
    tap: str,
    layout: str,
    frame_size: str,
    overwrite: bool,
    **choice: Any,
) -> None:
    """Import features of other programs into the cache, one array for each video.

    Other commands select them as NAME:TIMESTEP:TAP.
    """
    from ...extract.frames import FrameSize
    from ...store import open_cache, printable
    from ..runs.importing import find_array, import_unit

    size = FrameSize.parse(frame_size)
    videos = open_videos(**choice)
    for video in videos:
        spec = import_unit(
            open_cache(cache, create=True),
            video,
            find_array(arrays, video.name),
            backbone=name,
            timestep=timestep,
            tap=tap,
            layout=layout,
            frame_size=size,
            overwrite=overwrite,
        )
        click.echo(printable(spec.label))
    named = printable(shlex.join(map(str, choice["sources"])))
    click.echo(f"imported features of {plural(len(videos), 'video')} into {cache}", err=True)
    feature = shlex.quote(f"{name}:{timestep}:{tap}=1")
    click.echo(f"next: ted propagate {named} --cache {shlex.quote(str(cache))} --feature {feature}", err=True)
