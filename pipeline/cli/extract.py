"""``ted extract``."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import plural
from .backbone_options import backbone_options, overlap_rule_option, read_backbone_options
from .cluster_options import open_workers, scheduler_options
from .options import CONTEXT, cache_option, config_option, json_option, open_videos, source_options
from .setting_options import FROM_PRESET

if TYPE_CHECKING:
    from ...extract.clips import OverlapRule
    from ..runs.extracting.estimate import Estimate
    from ..runs.extracting.request import ExtractionRequest
    from ..runs.extracting.running import Extracted, Failure
    from ..runs.progress import FrameBars


def _batch_size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "auto":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither a whole number of at least 1 nor auto")
    return int(value)


@click.command(context_settings=CONTEXT)
@source_options
@cache_option
@click.option(
    "--preset",
    default="davis-efficient",
    help="Published setting for --feature, --ensemble and --overlap: davis-best, dift-adm, jhmdb and others.",
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="BACKBONE:TIMESTEP:TAP",
    help="Features to extract instead of the preset's, with lists such as i2vgen-xl:300,600:up_blocks[2]. Repeat.",
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
    help="Short side in pixels, or HEIGHTxWIDTH; ~560 takes the nearest size that the backbone takes.  [default: the "
    "preset's, or 480, or the nearest below that the backbone takes]",
)
@click.option("--ensemble", type=click.IntRange(min=1), help="Noise draws to average.  [default: the preset's]")
@click.option(
    "--overlap", type=click.IntRange(min=0), help="Frames shared by neighbouring clips.  [default: the preset's]"
)
@overlap_rule_option
@click.option("--seed", type=int, default=0, help="Seed of the noise.")
@click.option(
    "--noising",
    metavar="NAME[:OPTION=VALUE,...]",
    help="How clips get noise: random draws (as published), ddim-inversion:steps=50, none, or a noising of an "
    f"installed package.{FROM_PRESET}",
)
@backbone_options
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", help="Precision.")
@click.option(
    "--batch-size",
    metavar="N|auto",
    callback=_batch_size,
    help="Clips (image backbones: frames) in a pass, or auto: as fit into memory.  [default: 8 frames, or one clip]",
)
@click.option("--device", help="auto, cpu, cuda or cuda:N; on a cluster, each worker's.  [default: auto]")
@click.option("--devices", metavar="LIST", help="Run one process on each of these devices: 0,1,2,3 (CUDA), or cpu,cpu.")
@click.option(
    "--shard",
    metavar="I/N|slurm",
    help="Only this shard of the videos and backbones: 1/N to N/N, or the SLURM array task's.",
)
@scheduler_options
@click.option("--fail-fast", is_flag=True, help="Stop at the first video that fails.  [default: continue]")
@click.option(
    "--store-as",
    metavar="FORM",
    default="float16",
    help="Codec in the cache: float16, int8 (half), bitround:N, pca:N, pca:FILE (docs/reference/codecs.md).",
)
@click.option("--overwrite", is_flag=True, help="Compute complete units again.")
@click.option("--dry-run", is_flag=True, help="Write nothing; print units, bytes and an estimate of the time.")
@click.option("--timings", is_flag=True, help="Also print where the time of each stage went.")
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
    overlap_rule: "OverlapRule",
    seed: int,
    noising: str | None,
    dtype: str,
    batch_size: int | str | None,
    device: str | None,
    devices: str | None,
    shard: str | None,
    fail_fast: bool,
    store_as: str,
    overwrite: bool,
    dry_run: bool,
    timings: bool,
    as_json: bool,
    scheduler: str | None,
    worker_resources: tuple[str, ...],
    scheduler_timeout: float,
    **choice: Any,
) -> None:
    """Write diffusion features of videos into the cache.

    SOURCE is the root of a dataset (DAVIS, YouTube-VOS, MOSE, VIP, Kubric; JHMDB), a pickle of TAP-Vid, a folder of
    frames or a video file. Run the same command again to resume an interrupted run; complete units are left alone.
    Several jobs with the same list share the work.
    """
    from ...extract.backbones import check_options
    from ...extract.frames import FrameSize
    from ...extract.noising import parse_noising
    from ...extract.settings import ExtractionSettings
    from ...store import open_cache, parse_codec
    from ...store.errors import ConfigError
    from ..choices.features import parse_job
    from ..choices.presets import get_preset
    from ..runs.extracting.request import ExtractionRequest, Share, parse_weights
    from ..runs.extracting.shards import parse_shard, take_shard
    from ..runs.progress import FrameBars

    if sum(option is not None for option in (device, devices)) == 2 or (devices and scheduler):
        raise ConfigError("--devices runs processes on this machine: leave out --device and --scheduler")
    if devices and overwrite:
        raise ConfigError("--devices cannot go with --overwrite: remove the units with `ted cache rm` first")
    codec = parse_codec(store_as)
    chosen = get_preset(preset)
    jobs = [parse_job(text) for text in features or chosen.features]
    varied = read_backbone_options(choice)
    check_options(varied, [job.backbone for job in jobs])
    size = frame_size or chosen.frame_size
    settings = ExtractionSettings(
        frame_size=None if size is None else FrameSize.parse(size),
        overlap=chosen.overlap if overlap is None else overlap,
        overlap_rule=overlap_rule,
        noising=parse_noising(noising or chosen.noising),
        ensemble=chosen.ensemble if ensemble is None else ensemble,
        seed=seed,
        batch_size=batch_size if isinstance(batch_size, int) else None,
    )
    open_cache(cache, create=True)
    paths = parse_weights(weights, jobs)
    if scheduler:  # workers may run in other folders
        cache = cache.absolute()
        paths = {name: str(Path(path).absolute()) if Path(path).exists() else path for name, path in paths.items()}
        choice["sources"] = tuple(source.absolute() for source in choice["sources"])
    videos = open_videos(**choice)
    shares = [Share(job=job, video=video) for job in jobs for video in videos]
    if shard is not None:
        shares = take_shard(shares, parse_shard(shard, os.environ))
    request = ExtractionRequest(
        cache=cache,
        shares=tuple(shares),
        weights=paths,
        settings=settings,
        dtype=dtype,
        options=varied,
        codec=codec,
        overwrite=overwrite,
        adapt=batch_size == "auto",
    )
    if dry_run:
        from ..runs.devices import choose_device
        from ..runs.extracting.estimate import estimate

        _print_estimates(list(estimate(request, choose_device(device or "auto"))), cache, as_json)
        return
    clock = time.monotonic()
    results: list[Extracted | Failure] = []
    with FrameBars() as bars:
        for result in _results(
            request,
            bars,
            device=device or "auto",
            devices=devices,
            scheduler=scheduler,
            worker_resources=worker_resources,
            scheduler_timeout=scheduler_timeout,
        ):
            results.append(result)
            bars.note(_describe(result))
            if fail_fast and _failed(result):
                break
    _print_summary(results, time.monotonic() - clock, cache, as_json, timings)
    if any(map(_failed, results)):
        sys.exit(1)


def _results(
    request: "ExtractionRequest",
    bars: "FrameBars",
    *,
    device: str,
    devices: str | None,
    scheduler: str | None,
    worker_resources: tuple[str, ...],
    scheduler_timeout: float,
) -> Iterator["Extracted | Failure"]:
    """Extract on a cluster, on several devices or on one."""
    from ..runs.devices import choose_device
    from ..runs.extracting.running import extract as run

    if scheduler is not None:
        from ..runs.extracting.cluster import extract_on_cluster

        # Without a resource, a worker's threads would share its GPU.
        resources = worker_resources or (("GPU=1",) if device != "cpu" else ())
        with open_workers(
            workers=None,
            scheduler=scheduler,
            worker_threads=None,
            worker_resources=resources,
            scheduler_timeout=scheduler_timeout,
        ) as workers:
            yield from extract_on_cluster(request, workers, device, progress=bars.start, say=bars.note)
    elif devices is not None:
        from ..runs.extracting.devices import extract_on_devices, parse_devices

        chosen = [choose_device(name) for name in parse_devices(devices)]
        yield from extract_on_devices(request, chosen, progress=bars.start, say=bars.note)
    else:
        yield from run(request, choose_device(device), progress=bars.start, say=bars.note)


def _failed(result: "Extracted | Failure") -> bool:
    from ..runs.extracting.running import Failure

    return isinstance(result, Failure)


def _describe(result: "Extracted | Failure") -> str:
    from ..runs.extracting.running import Failure

    if isinstance(result, Failure):
        return f"Error: {result.share.name}: {result.reason}"
    report = result.report
    name = f"{result.share.video.dataset}/{result.share.name}"
    if not report.written:
        return f"{name}: complete already"
    units = plural(len(report.written), "unit")
    return f"{name}: {units}, {plural(report.frames_computed, 'frame')} in {report.seconds:.1f} s"


def _print_summary(
    results: "list[Extracted | Failure]", seconds: float, cache: Path, as_json: bool, timings: bool
) -> None:
    from ..runs.extracting.running import Extracted, Failure

    failures = [result for result in results if isinstance(result, Failure)]
    reports = [result.report for result in results if isinstance(result, Extracted)]
    summary: dict[str, Any] = {
        "written": [spec.label for report in reports for spec in report.written],
        "skipped": [spec.label for report in reports for spec in report.skipped],
        "failed": [
            {"video": item.share.video.name, "backbone": item.share.job.backbone, "reason": item.reason}
            for item in failures
        ],
        "seconds": round(seconds, 2),
    }
    if timings:
        waits, stages = (_sum([getattr(report, name) for report in reports]) for name in ("waited", "stages"))
        summary["timings"] = {**{f"waiting for {what}": spent for what, spent in waits.items()}, **stages}
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    for stage, spent in summary.get("timings", {}).items():
        click.echo(f"{spent:>10.2f} s  {stage}")
    for item in failures:  # again, at the end of a long log
        click.echo(f"failed: {item.share.name}: {item.reason}", err=True)
    click.echo(
        f"{plural(len(summary['written']), 'unit')} written, {len(summary['skipped'])} complete already, "
        f"{plural(len(failures), 'video')} failed, in {summary['seconds']} s; cache: {cache}"
    )


def _sum(parts: list[Mapping[str, float]]) -> dict[str, float]:
    """Add up seconds by name."""
    return {name: round(sum(part.get(name, 0.0) for part in parts), 3) for part in parts for name in part}


def _print_estimates(estimates: "list[Estimate]", cache: Path, as_json: bool) -> None:
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
        f"to do: {plural(len(pending), 'unit')}, {total['bytes'] / 1e9:.3f} GB (free: "
        f"{total['disk_free'] / 1e9:.1f} GB), about {total['seconds']:.0f} s, estimated from one pass"
    )
