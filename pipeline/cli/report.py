"""``ted report``."""

from pathlib import Path
from typing import Any

from .base import answer, arg, command, next_command, opt
from .options import at_least


@command(json=True, config=True)
def report(
    results: tuple[Path, ...] = arg("RESULTS..."),
    sources: tuple[Path, ...] = opt(
        "Source of the results, for pictures with ground truth, as for `ted propagate`. Repeat for more.",
        flag="--source",
        title="Input",
    ),
    set_name: str | None = opt(
        "List of videos, for a SOURCE that has several.  [default: as `ted propagate`]", flag="--set"
    ),
    resolution: str = opt("Folder below JPEGImages of a DAVIS root.", "480p"),
    cache: Path | None = opt(
        "Cache of the features, for provenance and controls.  [default: the cache recorded with the results]"
    ),
    out: Path = opt("File of the page.", "report.html", title="Output"),
    title: str = opt("Heading of the page.", "Tracking results"),
    pictures: int = opt(
        "Number of telling frames of each kind, with up to four folders of results side by side.",
        4,
        type=at_least(0, 12),
    ),
    overwrite: bool = opt("Replace an existing page."),
) -> None:
    """Write one HTML page about results: finding, scores, curves, frames, settings and provenance.

    RESULTS are folders of `ted propagate` (and `ted evaluate`) or `ted sweep`. Several folders are compared; controls
    are recognised and labelled. The page loads nothing from a network.

    For example:
        ted report results --source DAVIS
        ted report results results/sharper --source walk.mp4 --title "Two temperatures"
        ted report sweep --out sweep.html
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
    answer(
        {"out": str(out), "bytes": len(content), "notes": list(page.notes)},
        *(f"note: {note}" for note in page.notes),
        *filter(None, [page.finding]),
        f"report: {out} ({len(content) / 1e6:.2f} MB)",
        f"open it: {out.absolute().as_uri()}",
    )


def report_command(results: Path) -> str:
    """Return the command that makes a page about results, or makes it again."""
    page = Path(f"{results.resolve().name}.html")
    return next_command("report", results=[results], out=page, overwrite=page.exists())
