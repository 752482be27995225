"""``ted small-weights``."""

from pathlib import Path

import click

from .options import CONTEXT, LocalPath


@click.command("small-weights", context_settings=CONTEXT)
@click.argument("backbone")
@click.argument("folder", type=LocalPath())
@click.option("--seed", type=int, default=0, help="Seed of the random weights.")
@click.option("--standins", is_flag=True, help="Leave out VAE and encoders, and declare stand-ins for them (faster).")
def small_weights(backbone: str, folder: Path, seed: int, standins: bool) -> None:
    """Write a small random model of a BACKBONE into FOLDER, in the layout of the published weights.

    It tracks nothing well: it is for trying the commands, and for tests, where the published weights are not at hand.
    """
    from ...extract.small_models import make_small
    from ...store.durable import explain_os_errors
    from ...store.errors import ConfigError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; choose another, so that nothing is overwritten")
    with explain_os_errors(f"write {folder}"):
        click.echo(make_small(backbone, folder, seed=seed, standins=standins))
