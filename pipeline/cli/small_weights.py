"""``ted small-weights``."""

import shlex
from pathlib import Path

import click

from .base import arg, command, opt


@command("small-weights")
def small_weights(
    backbone: str = arg("BACKBONE"),
    folder: Path = arg("FOLDER"),
    seed: int = opt("Seed of the random weights.", 0, title="Model"),
    standins: bool = opt("Replace VAE and encoders by stand-ins (faster)."),
) -> None:
    """Write a small random model of a BACKBONE into FOLDER, in the layout of the published weights.

    It serves to try the commands without the published weights; it tracks nothing well.

    For example:
        ted small-weights adm weights/adm
        ted small-weights i2vgen-xl weights/i2vgen-xl --standins
        ted small-weights sd21 weights/sd21 --seed 1
    """
    from ...extract.small_models import make_small

    click.echo(make_small(backbone, folder, seed=seed, standins=standins))
    weights = shlex.quote(f"{backbone}={folder}")
    click.echo(f"use it: add --weights {weights} to a command `ted extract` for {backbone}", err=True)
