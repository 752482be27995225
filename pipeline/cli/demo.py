"""``ted demo``."""

from pathlib import Path

import click

from .options import CONTEXT


@click.command(context_settings=CONTEXT)
@click.option("--out", type=click.Path(path_type=Path), default="ted-demo", help="Folder for everything it makes.")
def demo(out: Path) -> None:
    """Run the whole path on a small synthetic video, with random weights.

    Makes a video of two identical moving balls, extracts features with two small backbones, propagates the first
    frame's masks with three values of alpha, evaluates, and draws the result. It shows that everything works, not how
    well the method does: that takes the published weights.
    """
    from ..demo.run import run_demo
    from ..progress import FrameBars

    with FrameBars() as bars:
        results = list(run_demo(out, progress=bars.start, say=bars.note))
    click.echo("alpha   J&F     J       F")
    for result in results:
        click.echo(f"{result.alpha:<6g}  {result.j_and_f:.3f}  {result.j:.3f}  {result.f:.3f}")
    click.echo(f"pictures: {results[1].sheet} and {results[1].movie}")
    click.echo("The weights are RANDOM: these figures say that the path works, nothing about the method.")
    click.echo(f"More alphas from the same cache: ted sweep {out / 'data'} --cache {out / 'cache'} --alpha 0:1:0.1")
    click.echo("Next: `ted extract --help`, and the README on bringing your own video and the published weights.")
