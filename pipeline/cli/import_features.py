"""``ted import``."""

from pathlib import Path
from typing import Any

import click

from .options import CONTEXT, LocalPath, cache_option, config_option, open_videos, source_options


@click.command("import", context_settings=CONTEXT)
@source_options
@cache_option
@click.option("--arrays", type=LocalPath(), required=True, help="Folder with VIDEO.npy or VIDEO.pt.")
@click.option("--name", required=True, help="Name of what made them: the BACKBONE under which they are found.")
@click.option("--timestep", type=click.IntRange(min=0), default=0, help="TIMESTEP under which they are found.")
@click.option("--tap", default="features", help="TAP under which they are found.")
@click.option(
    "--layout",
    type=click.Choice(["fcyx", "fyxc"]),
    default="fcyx",
    help="Order of axes: frame, channel, y, x, or frame, y, x, channel.",
)
@click.option("--frame-size", default="480", help="Size of the frames they were made of: short side, or HEIGHTxWIDTH.")
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
    """Put features made elsewhere into the cache, one array per video.

    They are then chosen like any others: NAME:TIMESTEP:TAP.
    """
    from ...extract.frames import FrameSize
    from ...store import open_cache
    from ..runs.importing import find_array, import_unit

    size = FrameSize.parse(frame_size)
    for video in open_videos(**choice):
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
        click.echo(spec.label)
