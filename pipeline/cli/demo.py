"""``ted demo``."""

from pathlib import Path

import click

from .options import CONTEXT, LocalPath


@click.command(context_settings=CONTEXT)
@click.option("--out", type=LocalPath(), default="ted-demo", help="Folder for everything it makes.")
def demo(out: Path) -> None:
    """Run the whole path on synthetic videos, with small models that come with the package.

    Makes videos of two identical objects that cross and of two distinct ones, extracts image and video features,
    propagates the first frame's masks with either and with both fused, evaluates beside controls, sweeps a few hundred
    settings from the cache, and draws the results side by side.
    """
    from ..demo.features import METHODS
    from ..demo.run import run_demo
    from ..demo.scenes import KINDS
    from ..runs.progress import FrameBars

    with FrameBars() as bars:
        result = run_demo(out, progress=bars.start, say=bars.note)
    for kind, about in KINDS.items():
        click.echo(f"\n{about.title:<32}{'J':>8}{'F':>8}{'identity':>10}")
        for name, method in METHODS.items():
            score = result.scores[kind, name]
            click.echo(f"  {method.title:<30}{score.j:>8.1%}{score.f:>8.1%}{score.identity:>10.1%}")
    best = result.swept.best.setting
    settings = best.propagation
    click.echo(
        f"\nBest of {result.swept.settings} settings: alpha {best.alpha:g}, temperature {settings.temperature:g}, "
        f"top-k {settings.top_k}, radius {settings.radius}: J {result.swept.best.measures['j']:.1%} "
        f"({result.swept.folder})"
    )
    click.echo("\nLook at:")
    for path in result.pictures:
        click.echo(f"  {path}")
    click.echo(
        "Identity is the share of object pixels that carry the right object's label; 50% is chance. The models\n"
        "are small and know synthetic scenes only (docs/evidence/small-models.md): for your video, bring published\n"
        "weights.\n"
        "\nNext:\n"
        f"  ted report {result.swept.folder}\n"
        "  ted extract VIDEO.mp4 --dry-run     what to download, and what it takes\n"
        "  ted propagate --help                the README has the whole path"
    )
