"""Options and the loop over videos that the commands of ``ted show`` share."""

import functools
import importlib.util
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain
from .options import LocalPath, json_option, open_videos, source_options

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..pictures.columns import PictureOutput

__all__ = ["frames_options", "picture_options", "show_videos"]


def picture_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of sources, of the folder of the pictures, and of movies; see `show_videos`."""
    decorators = [
        source_options,
        click.option("--out", type=LocalPath(), default="pictures", help="Folder to write pictures to."),
        click.option("--movie", is_flag=True, help="Also write a movie of all frames (MP4)."),
        click.option(
            "--fps", type=click.FloatRange(min=0, min_open=True), default=12.0, help="Frames per second of the movie."
        ),
        json_option,
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def frames_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose the frames of a sheet; see `show_videos`."""
    decorators = [
        click.option(
            "--frames", metavar="LIST", help="Frames of the sheet, by name or by number from 0, such as 0,8,15."
        ),
        click.option(
            "--count",
            type=click.IntRange(1, 100),
            default=6,
            help="Number of evenly spaced frames of the sheet, without --frames.",
        ),
        click.option(
            "--figure",
            type=LocalPath(),
            help="Also write a figure for papers, OUT.pdf or OUT.svg (needs matplotlib).",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def show_videos(
    what: str,
    draw: Callable[["Video", "PictureOutput"], Sequence[Path]],
    *,
    out: Path,
    movie: bool,
    fps: float,
    as_json: bool,
    choose: "Callable[[Video], Sequence[int]]",
    figure: Path | None = None,
    **choice: Any,
) -> None:
    """Draw each video and report the files; exit with 1 if a video failed.

    Parameters
    ----------
    what
        Last part of the file names, such as ``pca``.
    draw
        Writes the pictures of a video and returns their paths.
    out, movie, fps, as_json
        Options from `picture_options`.
    choose
        Returns the indices of the frames of a video's sheet.
    figure
        File of a figure; with several videos, each adds its name.
    **choice
        Arguments of `open_videos`.

    Raises
    ------
    ConfigError
        If an option is wrong; this ends the command, while other errors of a video do not.
    """
    from ...store import safe_name
    from ...store.errors import ConfigError, TedError
    from ..pictures.columns import PictureOutput
    from ..runs.progress import FrameBars

    if figure is not None and figure.suffix.lower() not in (".pdf", ".svg"):
        raise ConfigError(f"a figure is written as .pdf or .svg, not {figure.name!r}")
    if figure is not None and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("figures need matplotlib: install it with python -m pip install matplotlib")
    rows: list[dict[str, Any]] = []
    failures = 0
    videos = open_videos(**choice)
    with FrameBars() as bars:
        for video in videos:
            name = safe_name(video.name)
            try:
                output = PictureOutput(
                    base=out / f"{name}-{what}",
                    figure=figure.with_stem(f"{figure.stem}-{name}") if figure and len(videos) > 1 else figure,
                    frames=choose(video),
                    fps=fps if movie else None,
                    progress=bars.start(video.name, len(video.frames)) if movie else lambda frames: None,
                )
                rows.append({"video": video.name, "pictures": [str(path) for path in draw(video, output)]})
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
        if not (movie or failures):
            click.echo(f"next, for movies of all frames: {shlex.join(['ted', *sys.argv[1:], '--movie'])}")
    if failures:
        sys.exit(1)
