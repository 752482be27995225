"""``ted demo``."""

from pathlib import Path

import click

from .base import command, opt


@command()
def demo(out: Path = opt("Folder for all files of the demo.", "ted-demo", title="Output")) -> None:
    """Run both stages on synthetic videos, with the small models of the package.

    The demo renders videos of two identical objects that cross and of two distinct ones, extracts image and video
    features, propagates the first frame's masks with either and with both fused, scores the results beside controls,
    sweeps 216 settings from the cache, draws the results, and writes a report.

    For example:
        ted demo
        ted demo --out /tmp/ted-demo
        ted demo --out ~/ted-demo
    """
    from ..demo.run import run_demo
    from ..demo.setup import KINDS, METHODS
    from ..runs.progress import FrameBars

    with FrameBars() as bars:
        result = run_demo(out, progress=bars.start, say=bars.note)
    for kind, about in KINDS.items():
        click.echo(f"\n{about.title:<32}{'J':>8}{'F':>8}{'identity':>10}")
        for name, method in METHODS.items():
            score = result.scores[kind, name]
            click.echo(f"  {method.title:<30}{score.j:>8.1%}{score.f:>8.1%}{score.identity:>10.1%}")
    best = result.ranking[0]
    settings = best.setting.propagation
    click.echo(
        "\nIdentity is the share of object pixels with the label of the right object; 50% is chance.\n"
        f"\nThe sweep scored {len(result.ranking)} settings on the first video of each kind. Their mean J is "
        f"{result.fused.measures['j']:.1%} as fused above,\nand {best.measures['j']:.1%} with the best setting: alpha "
        f"{best.setting.weights[0]:g}, temperature {settings.temperature:g}, top-k {settings.top_k}, radius "
        f"{settings.radius}.\n"
    )
    for what, path in (
        ("report", result.report),
        ("sweep", result.sweep / "settings.csv"),
        *(("movie" if path.suffix == ".mp4" else "picture", path) for path in result.pictures),
    ):
        click.echo(f"{what + ':':<9}{path}")
    click.echo(
        "\nThe models are small and know synthetic scenes only. With a video of your own, next:\n"
        "  ted mask VIDEO.mp4                  the first mask; it names the commands that track without a network\n"
        "  ted extract VIDEO.mp4 --dry-run     the published models: downloads, and how large the features are"
    )
