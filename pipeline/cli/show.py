"""``ted show``: pca, similarity, arrows, masks, boxes, points."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..choices.presets import get_preset
from .base import Group, command, opt, titled
from .options import CACHE, DEVICE, PREFER, PRESET, TrackedVideos, at_least
from .picture_options import PictureChoice, SheetChoice
from .setting_options import FusionChoice, KernelChoice, SettingChoice, complete_feature, of_preset, preferences

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..pictures.arrow_pictures import Pixels
    from ..pictures.columns import PictureOutput
    from ..pictures.selection import Point


class _ShowGroup(Group):
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


@click.group(cls=_ShowGroup)
def show() -> None:
    """Draw features from the cache, and results of propagation.

    No network is loaded. Each command writes a contact sheet of a few frames and, with --movie, a movie of all frames.
    """


@command(group=show, json=True)
def pca(
    choice: TrackedVideos,
    *,
    cache: Path = titled("Features", CACHE),
    preset: str = PRESET,
    features: tuple[str, ...] = of_preset(
        "features",
        "Feature of a column; comma-separated lists give several, such as "
        "i2vgen-xl:300,600:up_blocks[1],up_blocks[2]. Repeat for more.",
        flag="--feature",
        metavar="BACKBONE[@DIGEST]:TIMESTEPS:TAPS",
        shell_complete=complete_feature,
    ),
    prefer: tuple[str, ...] = PREFER,
    basis: str | None = opt("Frames that the components are computed from.  [default: those shown]", metavar="LIST"),
    sheet: SheetChoice,
    pictures: PictureChoice,
) -> None:
    """Draw the three principal components of features as red, green and blue.

    All frames share one basis, so equal colours mean equal features. --basis 0,8 computes it from two frames only.

    For example:
        ted show pca walk.mp4
        ted show pca walk.mp4 --feature adm:51:output_blocks[7] --basis 0,8 --movie
        ted show pca DAVIS --videos camel --feature i2vgen-xl:300,600:up_blocks[1],up_blocks[2]
    """
    videos = choice.open(cache)
    from ...store import open_cache
    from ..choices.features import parse_choice
    from ..pictures.pca import write_pca
    from ..pictures.selection import choose_frames
    from ..runs.propagating.units import find_units
    from ..runs.sweeping.notation import parse_features

    preferred = preferences(preset, prefer)
    choices = parse_features(features) or tuple(map(parse_choice, get_preset(preset).features))
    source = open_cache(cache)

    def draw(video: "Video", output: "PictureOutput") -> list[Path]:
        units = find_units(source, video, choices, preferred)
        titled = {str(choice): units[choice] for choice in choices}
        of = None if basis is None else choose_frames(basis, video.frames.names, 0)
        return write_pca(video, titled, output, basis=of)

    pictures.draw("pca", videos, draw, sheet.choose, sheet.figure)


@command(group=show, json=True)
def similarity(
    choice: TrackedVideos,
    fusion: FusionChoice,
    affinity: KernelChoice,
    *,
    point: str | None = opt(
        "Pixel of the original frame, such as 0:120,64.", metavar="FRAME:X,Y", title="Pixel and features"
    ),
    clicked: str | None = opt(
        "Show this frame in a window, and use the pixel that you click.", flag="--click", metavar="FRAME"
    ),
    radius: int | None = opt("Show only the search window: this many cells in each direction.", type=at_least(0)),
    cache: Path = CACHE,
    device: str = DEVICE,
    sheet: SheetChoice,
    pictures: PictureChoice,
) -> None:
    """Draw the similarity of one pixel with all pixels of a few frames, as propagation computes it.

    Name the pixel with --point, or click on it in the frame of --click. The pixel's own frame is always shown.

    For example:
        ted show similarity walk.mp4 --point 0:120,64
        ted show similarity walk.mp4 --click 0 --alpha 1
        ted show similarity DAVIS --videos camel --point 0:400,200 --radius 15 --movie
    """
    videos = choice.open(cache)
    from ...store import open_cache
    from ...store.errors import ConfigError
    from ..pictures.selection import Point, parse_point, spaced_around
    from ..pictures.similarity_pictures import write_similarity
    from ..runs.devices import choose_device
    from ..runs.propagating.units import find_weighted_units

    if (point is None) == (clicked is None):
        raise ConfigError("name a pixel with --point FRAME:X,Y, or a frame to click on with --click FRAME")
    parts, prefer, kernel = fusion.parts(), fusion.preferred(), affinity.get(fusion)
    source, where = open_cache(cache), choose_device(device)
    pixels: dict[str, Point] = {}

    def choose(video: "Video") -> list[int]:
        pixel = pixels[video.name] = (
            _clicked(video, str(clicked))
            if point is None
            else parse_point(point, video.frames.names, video.frames.size)
        )
        if sheet.frames is None:
            return spaced_around(len(video.frames), sheet.count, pixel.frame)
        return sorted({pixel.frame, *sheet.choose(video)})

    def draw(video: "Video", output: "PictureOutput") -> list[Path]:
        return write_similarity(
            video,
            find_weighted_units(source, video, parts, prefer),
            output,
            point=pixels[video.name],
            kernel=kernel,
            renormalize=fusion.renormalize,
            radius=radius,
            device=where,
        )

    pictures.draw("similarity", videos, draw, choose, sheet.figure)


def _clicked(video: "Video", frame: str) -> "Point":
    """Let the user click on a pixel of a frame, and print the option that names it."""
    from ..pictures.clicking import clicked_pixel
    from ..pictures.selection import Point, frame_index

    index = frame_index(frame, video.frames.names)
    x, y = clicked_pixel(video.frames.read(index), f"{video.name}, frame {video.frames.names[index]}")
    click.echo(f"{video.name}: --point {video.frames.names[index]}:{x},{y}", err=True)
    return Point(frame=index, x=x, y=y)


@command(group=show, json=True)
def arrows(
    choice: TrackedVideos,
    fusion: FusionChoice,
    setting: SettingChoice,
    *,
    frame: str | None = opt(
        "Frame of the pixels, by name or by number from 0.  [default: the middle frame]",
        metavar="FRAME",
        title="Pixels and features",
    ),
    points: tuple[str, ...] = opt("Pixel of the original frame. Repeat for more.", flag="--point", metavar="X,Y"),
    sample: int = opt(
        "Without --point: approximate number of pixels, sampled on the objects.", 8, type=at_least(1, 1000)
    ),
    results: Path | None = opt("Folder of results whose masks locate the objects.  [default: the ground truth]"),
    onto: Literal["context", "previous"] = opt(
        "Draw over the context frames with the largest weights, or all sources over the previous frame.", "context"
    ),
    cache: Path = CACHE,
    device: str = DEVICE,
    pictures: PictureChoice,
) -> None:
    """Draw arrows from the pixels of a frame to the sources of their labels, as thick as the sources' weights.

    Sources and weights are those of `ted propagate` with the same options. The movie shows every frame.

    For example:
        ted show arrows walk.mp4 --mask first.png --results results
        ted show arrows DAVIS --videos camel --frame 20 --onto previous
        ted show arrows walk.mp4 --point 120,64 --point 300,80 --frame 10 --movie
    """
    videos = choice.open(cache)
    from ...store import open_cache
    from ..pictures.arrow_pictures import named_pixels, sampled_pixels, write_arrows
    from ..pictures.selection import frame_index, parse_point
    from ..runs.devices import choose_device
    from ..runs.propagating.units import find_weighted_units
    from ..tasks.masks.frames import result_masks, true_masks

    parts, prefer, settings = fusion.parts(), fusion.preferred(), setting.settings(fusion)
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

        units = find_weighted_units(source, video, parts, prefer)
        return write_arrows(video, units, settings, output, pixels=pixels, onto=onto, device=where)

    pictures.draw("arrows", videos, draw, choose)


def _results_command(name: str, help_text: str) -> click.Command:
    """Return the command that draws results of the tasks with this name or noun."""

    @command(
        name,
        help_text=f"{help_text}\n\nFor example:\n"
        f"    ted show {name} DAVIS --results results\n"
        f"    ted show {name} DAVIS --results best=results/best --results fast=results/fast --movie\n"
        f"    ted show {name} DAVIS --videos camel --frames 0,10,20 --no-truth",
        json=True,
    )
    def draw(
        choice: TrackedVideos,
        *,
        results: tuple[str, ...] = opt(
            "Folder of results, with the title of its column. Repeat to compare.",
            ["results"],
            metavar="[TITLE=]FOLDER",
            title="Results",
        ),
        truth: bool = opt("Also draw the ground truth, if there is any.", True, flag="--truth/--no-truth"),
        sheet: SheetChoice,
        pictures: PictureChoice,
    ) -> None:
        videos = choice.open()
        from ..pictures.result import parse_results, write_results

        folders = parse_results(results)
        pictures.draw(
            name,
            videos,
            lambda video, output: write_results(name, video, folders, output, truth=truth),
            sheet.choose,
            sheet.figure,
        )

    return draw


for _name, _help in {
    "masks": "Draw masks over frames: several results and the ground truth side by side.",
    "boxes": "Draw boxes, of results or around their masks, over frames: several results and the ground truth side by "
    "side.",
    "points": "Draw joints or points over frames: several results and the ground truth side by side.\n\n"
    "Occluded points are rings; points that were lost are not drawn.",
}.items():
    show.add_command(_results_command(_name, _help))
