"""What the commands of ``ted show`` have in common: their options, and going through videos."""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain
from .options import json_option, open_videos, source_options

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..pictures.columns import Look

__all__ = ["frames_options", "picture_options", "show_videos"]


def picture_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of sources, of where pictures go to, and of movies; see `show_videos`."""
    decorators = [
        source_options,
        click.option("--out", type=click.Path(path_type=Path), default="pictures", help="Folder of the pictures."),
        click.option("--movie", is_flag=True, help="Write a movie of all frames, too (MP4)."),
        click.option("--fps", type=click.FloatRange(min=0, min_open=True), default=12.0, help="Of the movie."),
        json_option,
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def frames_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose the frames on a sheet; see `show_videos`."""
    decorators = [
        click.option("--frames", metavar="LIST", help="Frames on the sheet, such as 0,8,15: names, or numbers from 0."),
        click.option(
            "--count",
            type=click.IntRange(1, 100),
            default=6,
            help="Evenly spaced frames on the sheet, without --frames.",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def show_videos(
    what: str,
    draw: Callable[["Video", "Look"], Sequence[Path]],
    *,
    out: Path,
    movie: bool,
    fps: float,
    as_json: bool,
    choose: "Callable[[Video], Sequence[int]]",
    **choice: Any,
) -> None:
    """Draw each video, say what was written, and exit with 1 when one failed.

    Parameters
    ----------
    what
        Ends the names of the files: ``pca``.
    draw
        Writes the pictures of a video and returns their paths.
    out, movie, fps, as_json
        As `picture_options` gives them.
    choose
        Returns the frames of a video that go on its sheet.
    **choice
        As `open_videos` takes them.

    Raises
    ------
    ConfigError
        For what is wrong with an option, for one video as for all.
    """
    from ...store.errors import ConfigError, TedError
    from ...store.layout import safe_name
    from ..pictures.columns import Look
    from ..runs.progress import FrameBars

    rows: list[dict[str, Any]] = []
    failures = 0
    with FrameBars() as bars:
        for video in open_videos(**choice):
            try:
                look = Look(
                    base=out / f"{safe_name(video.name)}-{what}",
                    frames=choose(video),
                    fps=fps if movie else None,
                    progress=bars.start(video.name, len(video.frames)) if movie else lambda frames: None,
                )
                rows.append({"video": video.name, "pictures": [str(path) for path in draw(video, look)]})
            except ConfigError:
                raise
            except TedError as error:
                failures += 1
                rows.append({"video": video.name, "error": explain(error)})
                bars.note(f"Error: {video.name}: {explain(error)}")
    if as_json:
        click.echo(json.dumps({"out": str(out), "videos": rows}, indent=1))
    else:
        for row in rows:
            if "pictures" in row:
                click.echo(f"{row['video']}: {' '.join(row['pictures'])}")
    if failures:
        sys.exit(1)
