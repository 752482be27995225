"""``ted import``."""

from pathlib import Path
from typing import Literal

import click

from ..choices.hints import plural
from .base import command, next_command, next_steps, opt, titled
from .options import CACHE, VideoChoice, at_least


@command("import", config=True)
def import_features(
    choice: VideoChoice,
    arrays: Path = opt("Folder with VIDEO.npy or VIDEO.pt.", required=True, title="Features"),
    name: str = opt("Name of the backbone: BACKBONE in the features' notation.", required=True),
    timestep: int = opt("Timestep of the features.", 0, type=at_least(0)),
    tap: str = opt("TAP of the features.", "features"),
    layout: Literal["fcyx", "fyxc"] = opt("Order of axes: frame, channel, y, x, or frame, y, x, channel.", "fcyx"),
    frame_size: str = opt(
        "Size of the frames that the features were computed from: short side, or HEIGHTxWIDTH.", "480"
    ),
    cache: Path = titled("Output", CACHE),
    overwrite: bool = opt("Replace complete units."),
) -> None:
    """Import features of other programs into the cache, one array for each video.

    Other commands select them as NAME:TIMESTEP:TAP.

    For example:
        ted import walk.mp4 --arrays features --name mynet
        ted import DAVIS --arrays features --name mynet --timestep 100 --tap block3 --layout fyxc
        ted import frames/ --arrays features --name mynet --frame-size 480x832 --cache cache
    """
    from ...extract.frame_size import FrameSize
    from ...store import open_cache, printable
    from ..runs.importing import find_array, import_unit

    size = FrameSize.parse(frame_size)
    videos = choice.open()
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
    click.echo(f"imported features of {plural(len(videos), 'video')} into {cache}", err=True)
    click.echo(next_steps(next_command("propagate", features=[f"{name}:{timestep}:{tap}=1"])), err=True)
