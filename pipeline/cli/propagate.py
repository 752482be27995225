"""``ted propagate``."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain
from .cluster_options import cluster_options, open_workers
from .options import (
    CONTEXT,
    LocalPath,
    cache_option,
    config_option,
    json_option,
    open_videos,
    source_options,
)
from .setting_options import feature_options, saved_settings, setting_options, take_features, take_settings

if TYPE_CHECKING:
    from ...propagate import AffinityUse
    from ..datasets.point_queries import QueryMode


@click.command(context_settings=CONTEXT)
@source_options
@cache_option
@click.option("--out", type=LocalPath(), default="results", help="Folder of the results.")
@feature_options
@setting_options
@click.option(
    "--target",
    metavar="TASK",
    help="What to track, where SOURCE has annotations for several tasks: boxes follows the boxes around the objects of "
    "masks.  [default: the first of masks, parts, joints, points, boxes that it has]",
)
@click.option(
    "--query-mode",
    type=click.Choice(["first", "strided"]),
    default="first",
    help="Points of TAP-Vid and of `ted synth`: given in the first frame that shows them, or in every fifth and "
    "followed both ways.",
)
@click.option(
    "--refine",
    metavar="NAME",
    help="Improve results with a refiner that an installed package offers (entry points ted.refiners).",
)
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--affinities",
    type=click.Choice(["auto", "keep", "keep-per-frame", "approximate", "off"]),
    default="auto",
    help="Affinities kept in the cache: read them where that is exact (auto); if there are none, keep them (keep: "
    "about 1 MB a frame at 480p; keep-per-frame: ten times that, for every shorter context too); read them even where "
    "nothing proves it exact (approximate: the share of pixels is reported); or leave them alone (off).",
)
@cluster_options
@click.option("--save-soft", is_flag=True, help="Keep the soft labels of masks, as a Zarr array soft.zarr.")
@click.option("--overlay", is_flag=True, help="Draw the results over the frames: a contact sheet PNG and an MP4.")
@click.option("--overwrite", is_flag=True, help="Replace results of other settings.")
@json_option
@config_option
def propagate(
    cache: Path,
    out: Path,
    target: str | None,
    query_mode: "QueryMode",
    refine: str | None,
    device: str,
    affinities: "AffinityUse",
    workers: int | None,
    scheduler: str | None,
    worker_threads: int | None,
    worker_resources: tuple[str, ...],
    scheduler_timeout: float,
    save_soft: bool,
    overlay: bool,
    overwrite: bool,
    as_json: bool,
    **choice: Any,
) -> None:
    """Propagate given masks, boxes, joints or points along cached features.

    SOURCE is the root of a dataset (DAVIS, YouTube-VOS, MOSE, VIP, Kubric; JHMDB), a pickle of TAP-Vid, the
    Tracks of `ted synth`, a folder of frames or a video file; the last two need --mask or --annotations. The features
    must be in the cache (`ted extract`). Results are palette PNGs of masks, or tables of boxes, joints or points
    (boxes.csv, joints.csv, tracks.csv). Results of the same settings are left alone.
    """
    from ...store import open_cache
    from ...store.errors import ConfigError, TedError
    from ..choices.config_file import save_config
    from ..pictures.result import write_overlay
    from ..runs.devices import choose_device
    from ..runs.progress import FrameBars
    from ..runs.propagating.propagation import propagate_video
    from ..tasks.refiners import get_refiner
    from ..tasks.registry import task_of

    chosen = take_features(choice)
    settings = take_settings(choice, chosen)
    videos = open_videos(**choice)
    task_options = {"query_mode": query_mode, "save_soft": save_soft}
    tasks = {video.name: task_of(video, target, task_options) for video in videos}
    if save_soft and not all(getattr(task, "save_soft", False) for task in tasks.values()):
        raise ConfigError("--save-soft is for masks: leave it out for boxes, joints and points")
    refiner = None if refine is None else get_refiner(refine)
    source = open_cache(cache.absolute())  # workers have working folders of their own
    where = choose_device(device, elsewhere=scheduler is not None)
    rows: list[dict[str, Any]] = []
    failures = 0
    cluster = open_workers(
        workers=workers,
        scheduler=scheduler,
        worker_threads=worker_threads,
        worker_resources=worker_resources,
        scheduler_timeout=scheduler_timeout,
    )
    with cluster as crew, FrameBars() as bars:
        for video in videos:
            try:
                advance = bars.start(video.name, len(video.frames))
                report = propagate_video(
                    source,
                    video,
                    chosen.parts,
                    settings,
                    out,
                    device=where,
                    task=tasks[video.name],
                    refiner=refiner,
                    prefer=chosen.prefer,
                    overwrite=overwrite,
                    affinities=affinities,
                    workers=crew,
                    progress=advance,
                )
                row = {"video": video.name, "folder": str(report.folder), "frames": report.frames}
                row |= {"skipped": report.skipped, "seconds": round(report.seconds, 2)}
                row |= {"affinities": report.affinities, "unproven_pixels": report.unproven}
                if overlay:
                    title = f"{video.name}: " + " + ".join(
                        f"{weight:g} {feature}" for feature, weight in chosen.parts if weight
                    )
                    pictures = write_overlay(video, report.folder, out / "overlays", title=title)
                    row["overlay"] = [str(path) for path in pictures]
            except ConfigError:
                raise  # a wrong option is wrong for every video
            except TedError as error:
                failures += 1
                rows.append({"video": video.name, "error": explain(error)})
                bars.note(f"Error: {video.name}: {explain(error)}")
                continue
            rows.append(row)
            state = "there before" if report.skipped else f"{report.seconds:.1f} s, affinities from {report.affinities}"
            bars.note(f"{video.name}: {report.frames} frames, {state}")
            if report.unproven:
                bars.note(
                    f"{video.name}: approximate: for {100 * report.unproven:.3g} % of the pixels, the kept affinities "
                    "may lack some of the best sources"
                )
    options = {
        "cache": cache.absolute(),
        **saved_settings(settings),
        "feature": [f"{feature}={weight!r}" for feature, weight in chosen.parts if weight],
        "prefer": [f"{field}={value}" for field, value in chosen.prefer],
    }
    known = {parameter.name for parameter in click.get_current_context().command.params}
    failed = {row["video"] for row in rows if "error" in row}
    for video in videos:
        if video.name not in failed:
            options |= {name: value for name, value in tasks[video.name].used_options(video).items() if name in known}
    if refine is not None:
        options["refine"] = refine
    if len(rows) > failures:
        save_config(out / "propagate.toml", "propagate", options)
    if as_json:
        click.echo(json.dumps({"out": str(out), "videos": rows}, indent=1))
    else:
        click.echo(f"{len(rows) - failures} videos propagated, {failures} failed; results in {out}")
    if failures:
        sys.exit(1)
