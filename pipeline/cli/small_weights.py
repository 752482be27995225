"""``ted small-weights``."""

from pathlib import Path

import click

from .options import CONTEXT, LocalPath


@click.command("small-weights", context_settings=CONTEXT)
@click.argument("backbone")
@click.argument("folder", type=LocalPath())
@click.option("--seed", type=int, default=0, help="Seed of the random weights.")
@click.option("--standins", is_flag=True, help="Replace VAE and encoders by stand-ins (faster).")
def small_weights(backbone: str, folder: Path, seed: int, standins: bool) -> None:
    """Write a small random model of a BACKBONE into FOLDER, in the layout of the published weights.

    It serves to try the commands without the published weights; it tracks nothing well.
    """
    from ...extract.small_models import make_small

    click.echo(make_small(backbone, folder, seed=seed, standins=standins))
