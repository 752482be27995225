"""``ted report``."""

import json
from pathlib import Path
from typing import Any

import click

from .options import CONTEXT, LocalPath, config_option, json_option


@click.command(context_settings=CONTEXT)
@click.argument("results", metavar="RESULTS...", nargs=-1, required=True, type=LocalPath())
@click.option("--out", type=LocalPath(), default="report.html", help="The page.")
@click.option("--title", default="Tracking results", help="Its heading.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=LocalPath(),
    help="Frames and ground truth of the results, for pictures: what `ted propagate` was given. Repeat.",
)
@click.option("--set", "set_name", help="List of videos of a SOURCE that has several.  [default: as `ted propagate`]")
@click.option("--resolution", default="480p", help="Folder below JPEGImages of a DAVIS root.")
@click.option(
    "--cache",
    type=LocalPath(),
    help="Cache of the features, for provenance and controls.  [default: the one that the results name]",
)
@click.option(
    "--pictures",
    type=click.IntRange(0, 12),
    default=4,
    help="Best frames to show, and as many worst ones, with up to four folders of masks side by side.",
)
@json_option
@config_option
def report(
    results: tuple[Path, ...],
    out: Path,
    title: str,
    sources: tuple[Path, ...],
    set_name: str | None,
    resolution: str,
    cache: Path | None,
    pictures: int,
    as_json: bool,
) -> None:
    """Write a page about results: settings, tables, curves, frames and cost, in one HTML file.

    RESULTS are folders of `ted propagate` (and `ted evaluate`) or `ted sweep`. Several stand beside each other; those
    of controls are recognised and labelled. The page needs no network.
    """
    from ..datasets.sources import Source, open_sources
    from ..reports.page import make_page, render_page
    from ..runs.files import written_whole

    chosen: dict[str, Any] = {} if set_name is None else {"set_name": set_name}
    videos = open_sources([Source(path=path, resolution=resolution, **chosen) for path in sources]) if sources else []
    page = make_page(results, title=title, videos=videos, cache=cache, pictures=pictures)
    # A name that is no text in any encoding, as file systems allow, must not prevent the page.
    content = render_page(page).encode("utf-8", "replace")
    with written_whole(out) as temporary:
        temporary.write_bytes(content)
    if as_json:
        values = {"out": str(out), "bytes": len(content), "notes": list(page.notes)}
        click.echo(json.dumps(values, indent=1))
    else:
        click.echo(
            "\n".join([*(f"note: {note}" for note in page.notes), f"report: {out} ({len(content) / 1e6:.2f} MB)"])
        )
