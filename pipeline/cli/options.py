"""Options that several commands share: configuration files, the cache, the choice of videos."""

import functools
import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..datasets.video import Video

__all__ = [
    "CONTEXT",
    "LocalFolder",
    "LocalPath",
    "cache_option",
    "config_option",
    "json_option",
    "open_videos",
    "prefer_option",
    "preset_option",
    "source_options",
    "truth_option",
]

#: Settings of all commands: ``-h`` works, defaults are shown.
CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}


class LocalPath(click.Path):
    """A path, in which ``~`` is the home folder: shells do not expand it in ``--cache=~/x``, variables and files."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as `click.Path` does."""
        home = os.path.expanduser(value)  # noqa: PTH111  a Path would forget that ./~ is no home folder
        return super().convert(home, param, ctx)


class LocalFolder(LocalPath):
    """A path; a URL, which `Path` would turn into a folder named ``s3:``, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as `LocalPath` does."""
        if "://" in str(value):
            self.fail(f"{value} is a URL; a cache must be a local folder", param, ctx)
        return super().convert(value, param, ctx)


def _load_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    from ..choices.config_file import load_config
    from . import load_command
    from .commands import COMMANDS

    options = {name: _options(load_command(name)) for name in COMMANDS}
    values = load_config(value, context.command.name or "", options)
    context.default_map = {**(context.default_map or {}), **values}


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a configuration file may set, by long name without dashes."""
    return {
        flag.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for flag in parameter.opts
        if flag.startswith("--") and parameter.name not in ("config", "help")
    }


#: ``--config FILE``: any option, in TOML.
config_option = click.option(
    "--config",
    type=LocalPath(),
    callback=_load_config,
    is_eager=True,
    expose_value=False,
    help="TOML file with any of these options, at its top level or in a table named like the command.",
)


#: ``--cache FOLDER``.
cache_option = click.option(
    "--cache",
    type=LocalFolder(),
    default="cache",
    envvar="TED_CACHE",
    show_envvar=True,
    help="Folder of the feature cache.",
)

#: ``--preset NAME``, of propagation.
preset_option = click.option(
    "--preset",
    default="davis-efficient",
    help="Published setting that provides the defaults: davis-best, dift-adm, jhmdb and others.",
)

#: ``--prefer FIELD=VALUE``.
prefer_option = click.option(
    "--prefer",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Choose between several units of a feature: ensemble=4, seed=1, frame_size=480x832, form=int8, ... Repeat.  "
    "[default: the preset's ensemble and overlap]",
)

#: ``--truth PATH``.
truth_option = click.option(
    "--truth",
    metavar="PATH",
    type=LocalPath(),
    help="True masks of your own video: a folder of masks of any frames, named like the frames. Those that propagation "
    "starts from are not scored, and all others are.",
)

#: ``--json``.
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the SOURCE argument and the options of videos and frames; see `open_videos`."""
    decorators = [
        click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=LocalPath()),
        click.option(
            "--mask",
            type=LocalPath(),
            help="Mask of the first frame; for one SOURCE, a folder of frames or a video file.",
        ),
        click.option(
            "--annotations",
            type=LocalPath(),
            help="Instead, a folder of masks of any frames, named like the frames, or a CSV of boxes (MOTChallenge) or "
            "points; objects join in the frames where they are annotated.",
        ),
        click.option("--dataset", help="Name of the dataset in the cache.  [default: depends on SOURCE]"),
        click.option(
            "--set",
            "set_name",
            help="List in ImageSets/2017 of a DAVIS root, or lists/ of VIP; split of JHMDB.  [default: val, split1]",
        ),
        click.option("--resolution", default="480p", help="Folder below JPEGImages of a DAVIS root."),
        click.option(
            "--videos",
            multiple=True,
            metavar="NAME|FILE.txt",
            help="Only these videos, separated by commas or repeated; or a file with one name per line.",
        ),
        click.option("--every", type=click.IntRange(min=1), default=1, help="Use every N-th frame."),
        click.option("--limit", type=click.IntRange(min=1), help="Use at most N frames of each video."),
        click.option(
            "--first-frame-only",
            is_flag=True,
            help="Track and score only the objects of the first annotated frame, as the paper does on YouTube-Similar.",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def open_videos(
    *,
    sources: tuple[Path, ...],
    mask: Path | None,
    annotations: Path | None,
    truth: Path | None = None,
    dataset: str | None,
    set_name: str | None,
    resolution: str,
    videos: tuple[str, ...],
    every: int,
    limit: int | None,
    first_frame_only: bool,
) -> list["Video"]:
    """Open the videos that `source_options` name.

    Raises
    ------
    ConfigError
        For masks with several sources, for ``--videos`` without a name, and for sources that cannot be opened.
    """
    import dataclasses

    from ...store.errors import ConfigError
    from ..datasets.listing import read_names
    from ..datasets.sources import Selection, Source, open_sources

    if any(path is not None for path in (mask, annotations, truth)) and len(sources) > 1:
        raise ConfigError("--mask, --annotations and --truth belong to one SOURCE: run the command for each source")
    asked = [name.strip() for item in videos for name in item.split(",") if name.strip()]
    lists = {item: Path(item).expanduser() for item in asked if item.endswith(".txt")}
    names = tuple(
        name
        for item in asked
        for name in (read_names(lists[item]) if item in lists and lists[item].is_file() else (item,))
    )
    if videos and not names:
        raise ConfigError("--videos names no video: leave it out to use all videos")
    found = open_sources(
        [
            Source(
                path=path,
                first_mask=mask,
                annotations=annotations,
                truth=truth,
                tasks=_tasks_reading(truth or annotations),
                set_name=set_name,
                resolution=resolution,
            )
            for path in sources
        ],
        Selection(videos=names, every=every, limit=limit, first_frame_only=first_frame_only),
    )
    return [dataclasses.replace(video, dataset=dataset) if dataset else video for video in found]


def _tasks_reading(annotations: Path | None) -> tuple[str, ...]:
    """Return the names of tasks of installed packages that can read the annotations."""
    if annotations is None or not entry_points(group="ted.tasks"):
        return ()
    from ..tasks.registry import tasks_reading

    return tasks_reading(annotations)
