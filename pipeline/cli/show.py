"""``ted show``: pca, similarity, arrows, masks, boxes, points."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import CONTEXT, LocalPath, cache_option, prefer_option, preset_option
from .picture_options import frames_options, picture_options, show_videos
from .setting_options import (
    feature_options,
    kernel_options,
    setting_options,
    take_features,
    take_kernel,
    take_settings,
)

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..pictures.arrow_pictures import Onto, Pixels
    from ..pictures.columns import PictureOutput
    from ..pictures.selection import Point

_device_option = click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")


class _ShowGroup(click.Group):
    """A group that also finds commands for the tasks of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(offer.name for offer in entry_points(group="ted.tasks"))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None or not entry_points(group="ted.tasks"):
            return command
        from ..tasks.registry import known_tasks

        known = any(cmd_name in (task.name, task.noun) for task in known_tasks().values())
        text = f"Draw {cmd_name} over frames: several results and the ground truth side by side."
        return _results_command(cmd_name, text) if known else None


@click.group(cls=_ShowGroup, context_settings=CONTEXT)
def show() -> None:
    """Draw features from the cache, and results of propagation.

    No network is loaded. Each command writes a contact sheet of a few frames and, with --movie, a movie of all frames.
    """


@show.command(context_settings=CONTEXT)
@picture_options
@cache_option
@preset_option
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="BACKBONE[@DIGEST]:TIMESTEPS:TAPS",
    help="Feature of a column; comma-separated lists give several, such as "
    "i2vgen-xl:300,600:up_blocks[1],up_blocks[2]. Repeat for more.  [default: the preset's]",
)
@prefer_option
@frames_options
@click.option("--basis", metavar="LIST", help="Frames that the components are computed from.  [default: those shown]")
def pca(
    cache: Path,
    preset: str,
    features: tuple[str, ...],
    prefer: tuple[str, ...],
    frames: str | None,
    count: int,
    basis: str | None,
    **options: Any,
) -> None:
    """Draw the three principal components of features as red, green and blue.

    All frames share one basis, so equal colours mean equal features. --basis 0,8 computes it from two frames only.
    """
    from ...store import open_cache
    from ..choices.features import parse_choice, parse_preference
    from ..choices.presets import get_preset
    from ..pictures.pca import write_pca
    from ..pictures.selection import choose_frames
    from ..runs.propagating.units import find_units
    from ..runs.sweeping.notation import parse_features

    chosen = get_preset(preset)
    choices = parse_features(features) or tuple(map(parse_choice, chosen.features))
    preferences = [parse_preference(text) for text in prefer]
    preferences += chosen.preferences
    source = open_cache(cache)

    def draw(video: "Video", output: "PictureOutput") -> list[Path]:
        units = find_units(source, video, choices, preferences)
        titled = {str(choice): units[choice] for choice in choices}
        of = None if basis is None else choose_frames(basis, video.frames.names, 0)
        return write_pca(video, titled, output, basis=of)

    show_videos("pca", draw, choose=lambda video: choose_frames(frames, video.frames.names, count), **options)


@show.command(context_settings=CONTEXT)
@picture_options
@cache_option
@feature_options
@kernel_options
@click.option("--point", metavar="FRAME:X,Y", help="Pixel of the original frame, such as 0:120,64.")
@click.option(
    "--click",
    "clicked",
    metavar="FRAME",
    help="Show this frame in a window, and use the pixel that you click.",
)
@click.option(
    "--radius", type=click.IntRange(min=0), help="Show only the search window: this many cells in each direction."
)
@frames_options
@_device_option
def similarity(
    cache: Path,
    point: str | None,
    clicked: str | None,
    radius: int | None,
    frames: str | None,
    count: int,
    device: str,
    **options: Any,
) -> None:
    """Draw the similarity of one pixel with all pixels of a few frames, as propagation computes it.

    Name the pixel with --point, or click on it in the frame of --click. The pixel's own frame is always shown.
    """
    from ...store import open_cache
    from ...store.errors import ConfigError
    from ..pictures.selection import Point, choose_frames, parse_point, spaced_around
    from ..pictures.similarity_pictures import write_similarity
    from ..runs.devices import choose_device
    from ..runs.propagating.units import find_weighted_units

    if (point is None) == (clicked is None):
        raise ConfigError("name a pixel with --point FRAME:X,Y, or a frame to click on with --click FRAME")
    chosen = take_features(options)
    kernel = take_kernel(options, chosen)
    source, where = open_cache(cache), choose_device(device)
    pixels: dict[str, Point] = {}

    def choose(video: "Video") -> list[int]:
        pixel = pixels[video.name] = (
            _clicked(video, str(clicked))
            if point is None
            else parse_point(point, video.frames.names, video.frames.size)
        )
        if frames is None:
            return spaced_around(len(video.frames), count, pixel.frame)
        return sorted({pixel.frame, *choose_frames(frames, video.frames.names, count)})

    def draw(video: "Video", output: "PictureOutput") -> list[Path]:
        return write_similarity(
            video,
            find_weighted_units(source, video, chosen.parts, chosen.prefer),
            output,
            point=pixels[video.name],
            kernel=kernel,
            renormalize=chosen.renormalize,
            radius=radius,
            device=where,
        )

    show_videos("similarity", draw, choose=choose, **options)


def _clicked(video: "Video", frame: str) -> "Point":
    """Let the user click on a pixel of a frame, and print the option that names it."""
    from ..pictures.clicking import clicked_pixel
    from ..pictures.selection import Point, frame_index

    index = frame_index(frame, video.frames.names)
    x, y = clicked_pixel(video.frames.read(index), f"{video.name}, frame {video.frames.names[index]}")
    click.echo(f"{video.name}: --point {video.frames.names[index]}:{x},{y}", err=True)
    return Point(frame=index, x=x, y=y)


@show.command(context_settings=CONTEXT)
@picture_options
@cache_option
@feature_options
@setting_options
@click.option(
    "--frame", metavar="FRAME", help="Frame of the pixels, by name or by number from 0.  [default: the middle frame]"
)
@click.option("--point", "points", multiple=True, metavar="X,Y", help="Pixel of the original frame. Repeat for more.")
@click.option(
    "--sample",
    type=click.IntRange(1, 1000),
    default=8,
    help="Without --point: approximate number of pixels, sampled on the objects.",
)
@click.option(
    "--results",
    type=LocalPath(),
    help="Folder of results whose masks locate the objects.  [default: the ground truth]",
)
@click.option(
    "--onto",
    type=click.Choice(["context", "previous"]),
    default="context",
    help="Draw over the context frames with the largest weights, or all sources over the previous frame.",
)
@_device_option
def arrows(
    cache: Path,
    frame: str | None,
    points: tuple[str, ...],
    sample: int,
    results: Path | None,
    onto: "Onto",
    device: str,
    **options: Any,
) -> None:
    """Draw arrows from the pixels of a frame to the sources of their labels, as thick as the sources' weights.

    Sources and weights are those of `ted propagate` with the same options. The movie shows every frame.
    """
    from ...store import open_cache
    from ..pictures.arrow_pictures import named_pixels, sampled_pixels, write_arrows
    from ..pictures.selection import frame_index, parse_point
    from ..runs.devices import choose_device
    from ..runs.propagating.units import find_weighted_units
    from ..tasks.masks.frames import result_masks, true_masks

    chosen = take_features(options)
    settings = take_settings(options, chosen)
    source, where = open_cache(cache), choose_device(device)

    def choose(video: "Video") -> list[int]:
        return [len(video.frames) // 2 if frame is None else frame_index(frame, video.frames.names)]

    def draw(video: "Video", output: "PictureOutput") -> list[Path]:
        named = [parse_point(f"{output.frames[0]}:{text}", video.frames.names, video.frames.size) for text in points]
        read = true_masks(video) if results is None else result_masks(video, results)

        def pixels(index: int, grid: tuple[int, int]) -> "Pixels":
            if named:
                return named_pixels(video, named, grid)
            return sampled_pixels(video, read, index, grid, sample)

        units = find_weighted_units(source, video, chosen.parts, chosen.prefer)
        return write_arrows(video, units, settings, output, pixels=pixels, onto=onto, device=where)

    show_videos("arrows", draw, choose=choose, **options)


def _results_command(name: str, help_text: str) -> click.Command:
    """Return the command that draws results of the tasks with this name or noun."""

    @click.command(name, context_settings=CONTEXT, help=help_text)
    @picture_options
    @click.option(
        "--results",
        multiple=True,
        default=["results"],
        metavar="[TITLE=]FOLDER",
        help="Folder of results, with the title of its column. Repeat to compare.",
    )
    @click.option("--truth/--no-truth", default=True, help="Also draw the ground truth, if there is any.")
    @frames_options
    def command(results: tuple[str, ...], truth: bool, frames: str | None, count: int, **options: Any) -> None:
        from ..pictures.result import parse_results, write_results
        from ..pictures.selection import choose_frames

        folders = parse_results(results)
        show_videos(
            name,
            lambda video, output: write_results(name, video, folders, output, truth=truth),
            choose=lambda video: choose_frames(frames, video.frames.names, count),
            **options,
        )

    return command


for _name, _help in {
    "masks": "Draw masks over frames: several results and the ground truth side by side.",
    "boxes": "Draw boxes, of results or around their masks, over frames: several results and the ground truth side by "
    "side.",
    "points": "Draw joints or points over frames: several results and the ground truth side by side.\n\n"
    "Occluded points are rings; points that were lost are not drawn.",
}.items():
    show.add_command(_results_command(_name, _help))
