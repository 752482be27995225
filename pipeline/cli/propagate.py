"""``ted propagate``."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain, plural
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
    help="Queries of TAP-Vid and of `ted synth`: each point once, in the first frame where it is visible; or in every "
    "fifth frame, tracked forward and backward.",
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
    help="Affinities in the cache. auto: read them where that is exact. keep: also write missing ones, about 1 MB a "
    "frame at 480p. keep-per-frame: write ten times as much, which also serves every shorter context. approximate: "
    "read them even where exactness is not proven, and report the share of pixels. off: neither read nor write.",
)
@cluster_options
@click.option("--save-soft", is_flag=True, help="Write the soft labels of masks, too: a Zarr array soft.zarr.")
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
    """Propagate annotated masks, boxes, joints or points along cached features.

    SOURCE is the root of a dataset (DAVIS, YouTube-VOS, MOSE, VIP, Kubric; JHMDB), a pickle of TAP-Vid, the
    Tracks of `ted synth`, a folder of frames or a video file; the last two need --mask or --annotations. The features
    must be in the cache (`ted extract`). Results are palette PNGs of masks, or tables of boxes, joints or points
    (boxes.csv, joints.csv, tracks.csv). Results that were made with the same settings are not made again.
    """
    from ...store import open_cache, printable
    from ...store.errors import ConfigError, TedError
    from ..choices.config_file import save_config
    from ..choices.next_steps import better_features
    from ..choices.presets import PRESETS
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
    with cluster as connected, FrameBars() as bars:
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
                    workers=connected,
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
            bars.note(f"{video.name}: {plural(report.frames, 'frame')}, {state}")
            if report.unproven:
                bars.note(
                    f"{video.name}: approximate: for {100 * report.unproven:.3g} % of the pixels, the cached "
                    "affinities may lack some of the best sources"
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
        and_failed = f", {failures} failed" if failures else ""
        click.echo(f"{plural(len(rows) - failures, 'video')} propagated{and_failed}; results in {out}")
        if len(rows) > failures:
            nouns = (tasks[row["video"]].noun for row in rows if "error" not in row)
            given = ["--annotations", choice["annotations"]] if choice["annotations"] else []
            words = ["ted", "show", next(nouns), *choice["sources"], *given, "--results", out]
            lines = [f"look at them: {shlex.join(map(str, words))}"]
            if chosen.preset is PRESETS["colours"]:
                lines += better_features(
                    choice["sources"], given or (["--mask", choice["mask"]] if choice["mask"] else [])
                )
            click.echo(printable("\n".join(lines), keep="\n"))
    if failures:
        sys.exit(1)
