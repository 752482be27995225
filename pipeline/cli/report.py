"""``ted report``."""

import json
from pathlib import Path
from typing import Any

import click

from .options import CONTEXT, LocalPath, config_option, json_option


@click.command(context_settings=CONTEXT)
@click.argument("results", metavar="RESULTS...", nargs=-1, required=True, type=LocalPath())
@click.option("--out", type=LocalPath(), default="report.html", help="File of the page.")
@click.option("--title", default="Tracking results", help="Heading of the page.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=LocalPath(),
    help="Source of the results, for pictures with ground truth, as for `ted propagate`. Repeat for more.",
)
@click.option("--set", "set_name", help="List of videos, for a SOURCE that has several.  [default: as `ted propagate`]")
@click.option("--resolution", default="480p", help="Folder below JPEGImages of a DAVIS root.")
@click.option(
    "--cache",
    type=LocalPath(),
    help="Cache of the features, for provenance and controls.  [default: the cache recorded with the results]",
)
@click.option(
    "--pictures",
    type=click.IntRange(0, 12),
    default=4,
    help="Number of telling frames of each kind, with up to four folders of results side by side.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
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
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write one HTML page about results: finding, scores, curves, frames, settings and provenance.

    RESULTS are folders of `ted propagate` (and `ted evaluate`) or `ted sweep`. Several folders are compared; controls
    are recognised and labelled. The page loads nothing from a network.
    """
    from ...store.errors import ConfigError
    from ..datasets.sources import Source, open_sources
    from ..reports.page import make_page, render_page
    from ..runs.files import written_whole

    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists: replace it with --overwrite, or name another file with --out")
    chosen: dict[str, Any] = {} if set_name is None else {"set_name": set_name}
    videos = open_sources([Source(path=path, resolution=resolution, **chosen) for path in sources]) if sources else []
    page = make_page(results, title=title, videos=videos, cache=cache, pictures=pictures)
    # File systems allow names that are not valid in any encoding.
    content = render_page(page).encode("utf-8", "replace")
    with written_whole(out) as temporary:
        temporary.write_bytes(content)
    if as_json:
        values = {"out": str(out), "bytes": len(content), "notes": list(page.notes)}
        click.echo(json.dumps(values, indent=1))
    else:
        lines = [*(f"note: {note}" for note in page.notes), page.finding]
        lines += [f"report: {out} ({len(content) / 1e6:.2f} MB); open it in a browser"]
        click.echo("\n".join(filter(None, lines)))
