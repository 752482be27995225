"""``ted extract``."""

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import CONTEXT, cache_option, config_option, json_option, open_videos, source_options

if TYPE_CHECKING:
    from ...extract.worker import ExtractionReport
    from ..extraction import Failure


@click.command(context_settings=CONTEXT)
@source_options
@cache_option
@click.option(
    "--preset",
    default="davis-efficient",
    help="Published setting that fills in --feature, --ensemble, --overlap: davis-best, dift-adm and others (README).",
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="BACKBONE:TIMESTEP:TAP",
    help="What to extract, instead of the preset's; lists by comma, such as i2vgen-xl:300,600:up_blocks[2]. Repeat.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[BACKBONE=]PATH",
    help="Folder or file of a backbone's weights, or a hub name; random:SEED[:PATH] for an untrained network.  "
    "[default: the published ones, in the hub cache]",
)
@click.option(
    "--frame-size",
    help="Short side in pixels, or HEIGHTxWIDTH.  [default: 480, or the nearest below that the backbone takes]",
)
@click.option("--ensemble", type=click.IntRange(min=1), help="Noise draws to average.  [default: the preset's]")
@click.option(
    "--overlap", type=click.IntRange(min=0), help="Frames shared by neighbouring clips.  [default: the preset's]"
)
@click.option("--seed", type=int, default=0, help="Seed of the noise.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", help="Precision.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Clips (image backbones: frames) in a pass.  [default: 8 frames, or one clip]",
)
@click.option("--overwrite", is_flag=True, help="Compute complete units again.")
@click.option("--dry-run", is_flag=True, help="Only print the units, their bytes and an estimate of the time.")
@json_option
@config_option
def extract(
    cache: Path,
    preset: str,
    features: tuple[str, ...],
    weights: tuple[str, ...],
    frame_size: str | None,
    ensemble: int | None,
    overlap: int | None,
    seed: int,
    dtype: str,
    device: str,
    batch_size: int | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **choice: Any,
) -> None:
    """Write diffusion features of videos into the cache.

    SOURCE is a DAVIS root, a folder of frames or a video file. An interrupted run is resumed by the same command;
    what is complete is left alone.
    """
    from ...extract.frames import FrameSize
    from ...extract.settings import ExtractionSettings
    from ...store import open_cache
    from .. import extraction
    from ..choices import parse_job
    from ..devices import choose_device
    from ..presets import get_preset

    chosen = get_preset(preset)
    jobs = [parse_job(text) for text in features or chosen.features]
    settings = ExtractionSettings(
        frame_size=None if frame_size is None else FrameSize.parse(frame_size),
        overlap=chosen.overlap if overlap is None else overlap,
        ensemble=chosen.ensemble if ensemble is None else ensemble,
        seed=seed,
        batch_size=batch_size,
    )
    paths = extraction.parse_weights(weights, jobs)
    videos = open_videos(**choice)
    target = open_cache(cache, create=True)
    where = choose_device(device)
    if dry_run:
        estimates = list(extraction.dry_run(target, videos, jobs, paths, settings, device=where, dtype=dtype))
        _print_estimates(estimates, cache, as_json)
        return
    from ..progress import FrameBars

    results: list[ExtractionReport | Failure] = []
    with FrameBars() as bars:
        for result in extraction.extract(
            target, videos, jobs, paths, settings, device=where, dtype=dtype, overwrite=overwrite, progress=bars.start
        ):
            results.append(result)
            bars.note(_describe(result))
    failures = [result for result in results if isinstance(result, extraction.Failure)]
    reports = [result for result in results if not isinstance(result, extraction.Failure)]
    summary: dict[str, Any] = {
        "written": [spec.label for report in reports for spec in report.written],
        "skipped": [spec.label for report in reports for spec in report.skipped],
        "failed": [{"video": item.video, "backbone": item.backbone, "reason": item.reason} for item in failures],
        "seconds": round(sum(report.seconds for report in reports), 2),
    }
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        click.echo(
            f"{len(summary['written'])} units written, {len(summary['skipped'])} complete before, "
            f"{len(failures)} videos failed, in {summary['seconds']} s; cache: {cache}"
        )
    if failures:
        sys.exit(1)


def _describe(result: "ExtractionReport | Failure") -> str:
    from ..extraction import Failure

    if isinstance(result, Failure):
        return f"Error: {result.video} ({result.backbone}): {result.reason}"
    specs = result.written or result.skipped
    name = f"{specs[0].dataset}/{specs[0].request.video} {specs[0].request.backbone}"
    if not result.written:
        return f"{name}: complete before"
    return f"{name}: {len(result.written)} units, {result.frames_computed} frames in {result.seconds:.1f} s"


def _print_estimates(estimates: list[Any], cache: Path, as_json: bool) -> None:
    import dataclasses

    folder = next(parent for parent in [cache.absolute(), *cache.absolute().parents] if parent.exists())
    pending = [item for item in estimates if item.state != "complete"]
    total = {
        "bytes": sum(item.bytes for item in pending),
        "seconds": round(sum(item.seconds for item in pending), 1),
        "disk_free": shutil.disk_usage(folder).free,
    }
    if as_json:
        click.echo(json.dumps({"units": [dataclasses.asdict(item) for item in estimates], **total}, indent=1))
        return
    for item in estimates:
        click.echo(f"{item.state:<10} {item.frames:>6} frames {item.bytes / 1e6:>10.1f} MB  {item.label}")
    click.echo(
        f"to do: {len(pending)} units, {total['bytes'] / 1e9:.3f} GB (free: {total['disk_free'] / 1e9:.1f} GB), "
        f"about {total['seconds']:.0f} s by one measured batch"
    )
