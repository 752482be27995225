"""``ted show``: pca, similarity, arrows, masks, boxes, points."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import CONTEXT, cache_option, prefer_option, preset_option
from .picture_options import frames_options, picture_options, show_videos
from .setting_options import feature_options, setting_options, take_features, take_settings

if TYPE_CHECKING:
    from ..datasets.video import Video
    from ..pictures.arrow_pictures import Onto, Pixels
    from ..pictures.columns import Look
    from ..pictures.places import Point

_device_option = click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")

_results_option = click.option(
    "--results",
    multiple=True,
    default=["results"],
    metavar="[TITLE=]FOLDER",
    help="Folder of results, with the title of its column. Repeat to compare.",
)

_truth_option = click.option("--truth/--no-truth", default=True, help="Show the ground truth, where there is any.")


@click.group(context_settings=CONTEXT)
def show() -> None:
    """Look at what the features see, and at what propagation makes of it.

    Pictures are drawn from the cache, or from results: no backbone is loaded. Each command writes a contact sheet of
    a few frames, and with --movie a movie of all.
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
    help="Features side by side; lists by comma, such as i2vgen-xl:300,600:up_blocks[1],up_blocks[2]. Repeat.  "
    "[default: the preset's]",
)
@prefer_option
@frames_options
@click.option("--basis", metavar="LIST", help="Frames that components are computed of.  [default: those shown]")
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
    """Show features as colours: their three principal components as red, green and blue.

    All frames share a basis, so that equal colours mean equal features. --basis 0,8 takes that of a pair of frames.
    """
    from ...store import open_cache
    from ..choices.features import parse_choice, parse_preference
    from ..choices.presets import get_preset
    from ..pictures.pca_pictures import write_pca
    from ..pictures.places import choose_frames
    from ..runs.propagating.propagation import find_units
    from ..runs.sweeping.notation import parse_features

    chosen = get_preset(preset)
    choices = parse_features(features) or tuple(map(parse_choice, chosen.features))
    preferences = [parse_preference(text) for text in prefer]
    preferences += [("ensemble", str(chosen.ensemble)), ("clip_overlap", str(chosen.overlap))]
    source = open_cache(cache)

    def draw(video: "Video", look: "Look") -> list[Path]:
        units = find_units(source, video, [(choice, 1.0) for choice in choices], preferences)
        titled = {str(choice): unit for choice, (unit, _) in zip(choices, units, strict=True)}
        of = None if basis is None else choose_frames(basis, video.frames.names, 0)
        return write_pca(video, titled, look, basis=of)

    show_videos("pca", draw, choose=lambda video: choose_frames(frames, video.frames.names, count), **options)


@show.command(context_settings=CONTEXT)
@picture_options
@cache_option
@feature_options
@click.option("--point", metavar="FRAME:X,Y", help="The pixel, in the original frame: 0:120,64.")
@click.option(
    "--click",
    "clicked",
    metavar="FRAME",
    help="Or show this frame in a window, and take the pixel that is clicked.",
)
@click.option("--radius", type=click.IntRange(min=0), help="Show only so many cells around it: the search window.")
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
    """Show how similar a pixel is to all pixels of a few frames, by the cosine that propagation compares.

    The pixel is that of --point, or one that is clicked in the frame of --click. Its own frame is always among those
    shown.
    """
    from ...store import open_cache
    from ...store.errors import ConfigError
    from ..pictures.places import Point, choose_frames, parse_point, spaced_around
    from ..pictures.similarity_pictures import write_similarity
    from ..runs.devices import choose_device
    from ..runs.propagating.propagation import find_units

    if (point is None) == (clicked is None):
        raise ConfigError("name a pixel with --point FRAME:X,Y, or a frame to click on with --click FRAME")
    chosen = take_features(options)
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

    def draw(video: "Video", look: "Look") -> list[Path]:
        return write_similarity(
            video,
            find_units(source, video, chosen.parts, chosen.prefer),
            look,
            point=pixels[video.name],
            renormalize=chosen.renormalize,
            radius=radius,
            device=where,
        )

    show_videos("similarity", draw, choose=choose, **options)


def _clicked(video: "Video", frame: str) -> "Point":
    """Return the pixel of a frame that is clicked, and say how to name it the next time."""
    from ..pictures.clicking import clicked_pixel
    from ..pictures.places import Point, frame_index

    index = frame_index(frame, video.frames.names)
    x, y = clicked_pixel(video.frames.read(index), f"{video.name}, frame {video.frames.names[index]}")
    click.echo(f"{video.name}: --point {video.frames.names[index]}:{x},{y}", err=True)
    return Point(frame=index, x=x, y=y)


@show.command(context_settings=CONTEXT)
@picture_options
@cache_option
@feature_options
@setting_options
@click.option("--frame", metavar="FRAME", help="Whose pixels: a name, or a number from 0.  [default: the middle one]")
@click.option("--point", "points", multiple=True, metavar="X,Y", help="A pixel of the original frame. Repeat.")
@click.option(
    "--sample", type=click.IntRange(1, 1000), default=8, help="Without --point: about so many pixels on the objects."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="Folder of results whose masks tell where the objects are.  [default: the ground truth]",
)
@click.option(
    "--onto",
    type=click.Choice(["context", "previous"]),
    default="context",
    help="Draw over each of the context frames that weigh most, or all sources over the frame before.",
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
    """Show where the labels of a frame's pixels come from: arrows to their sources, the thicker the more these weigh.

    The sources and weights are those that `ted propagate` uses with the same options. The movie shows every frame.
    """
    from ...store import open_cache
    from ..pictures.arrow_pictures import given_pixels, sampled_pixels, write_arrows
    from ..pictures.mask_pictures import result_masks, true_masks
    from ..pictures.places import frame_index, parse_point
    from ..runs.devices import choose_device
    from ..runs.propagating.propagation import find_units

    chosen = take_features(options)
    settings = take_settings(options, chosen)
    source, where = open_cache(cache), choose_device(device)

    def choose(video: "Video") -> list[int]:
        return [len(video.frames) // 2 if frame is None else frame_index(frame, video.frames.names)]

    def draw(video: "Video", look: "Look") -> list[Path]:
        given = [parse_point(f"{look.frames[0]}:{text}", video.frames.names, video.frames.size) for text in points]
        read = true_masks(video) if results is None else result_masks(video, results)

        def pixels(index: int, grid: tuple[int, int]) -> "Pixels":
            if given:
                return given_pixels(video, given, grid)
            return sampled_pixels(video, read, index, grid, sample)

        units = find_units(source, video, chosen.parts, chosen.prefer)
        return write_arrows(video, units, settings, look, pixels=pixels, onto=onto, device=where)

    show_videos("arrows", draw, choose=choose, **options)


@show.command(context_settings=CONTEXT)
@picture_options
@_results_option
@_truth_option
@frames_options
def masks(**options: Any) -> None:
    """Show masks over frames: several results side by side, and the ground truth."""
    from ..pictures.mask_pictures import write_masks

    _show_results("masks", write_masks, **options)


@show.command(context_settings=CONTEXT)
@picture_options
@_results_option
@_truth_option
@frames_options
def boxes(**options: Any) -> None:
    """Show boxes over frames, those of results or around their masks: several results, and the ground truth."""
    from ..pictures.box_pictures import write_boxes

    _show_results("boxes", write_boxes, **options)


@show.command(context_settings=CONTEXT)
@picture_options
@_results_option
@_truth_option
@frames_options
def points(**options: Any) -> None:
    """Show joints or points over frames: several results side by side, and the ground truth.

    Points that are hidden are rings; lost ones are not drawn.
    """
    from ..pictures.point_pictures import write_points

    _show_results("points", write_points, **options)


def _show_results(
    what: str,
    write: Callable[..., list[Path]],
    *,
    results: tuple[str, ...],
    truth: bool,
    frames: str | None,
    count: int,
    **options: Any,
) -> None:
    """Draw what several folders of results have of each video, side by side."""
    from ..pictures.mask_pictures import parse_results
    from ..pictures.places import choose_frames

    folders = parse_results(results)
    show_videos(
        what,
        lambda video, look: write(video, folders, look, truth=truth),
        choose=lambda video: choose_frames(frames, video.frames.names, count),
        **options,
    )
