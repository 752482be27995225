"""``ted extract``."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from ..choices.hints import plural
from ..choices.presets import DEFAULT, get_preset
from .base import Options, answer, command, fail, free_space, next_command, opt, titled
from .options import CACHE, PRESET, SchedulerChoice, VideoChoice, at_least
from .setting_options import of_preset

if TYPE_CHECKING:
    from ...extract.frame_size import FrameSize
    from ...extract.settings import BackboneOptions, ExtractionSettings
    from ...extract.worker import ExtractionReport
    from ...store.errors import WeightsError
    from ..choices.features import BackboneJob
    from ..datasets.video import Video
    from ..runs.extracting.request import ExtractionRequest
    from ..runs.extracting.running import Extracted, Failure
    from ..runs.progress import FrameBars


def _batch_size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value != "auto" and not (value.isdecimal() and int(value)):
        raise click.BadParameter(f"{value!r} is neither a whole number of at least 1 nor auto")
    return value


def _complete_feature(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from ...extract.backbones import BACKBONES

    usual = {"i2vgen-xl": 300, "adm": 51, "sd21": 51, "demo-video": 700, "demo-image": 20, "demo-text": 121}
    names = [f"{name}:{usual.get(name, 0)}:{info.default_tap}" for name, info in BACKBONES.items()]
    return [CompletionItem(name) for name in names if name.startswith(begun)]


class BackboneChoice(Options, title="Backbones"):
    """Inputs of backbones beside the frames."""

    prompt: str | None = opt("Prompt of i2vgen-xl, sd21 and demo-text.  [default: empty]", metavar="TEXT")
    tokens: bool = opt("Condition sd21 and demo-text on the tokens that `ted learn-token` learned for each video.")
    condition_on: Literal["clip", "video", "none"] | None = opt(
        "Frame that conditions a video backbone: the first of each clip, of the video, or none.  [default: clip]"
    )
    fps: int | None = opt(
        "Frame rate passed to video backbones, in frames per second.  [default: i2vgen-xl 16, svd 7]", type=at_least(1)
    )
    motion_bucket: int | None = opt(
        "Motion bucket passed to svd: the amount of motion.  [default: 127]", type=at_least(0)
    )
    noise_augmentation: float | None = opt(
        "Standard deviation of the noise on svd's conditioning frame.  [default: 0.02]", type=click.FloatRange(min=0)
    )
    no_temporal: bool = opt("Leave out the temporal layers of video backbones, which then see every frame alone.")

    def options(self) -> "BackboneOptions":
        """Return the values for `load_backbone`."""
        from ...extract.settings import BackboneOptions

        values = dict(vars(self))
        return BackboneOptions(temporal=not values.pop("no_temporal"), **values)


class ExtractionChoice(Options, title="Features"):
    """Features to extract, how, and with which weights."""

    preset: str = PRESET
    features: tuple[str, ...] = of_preset(
        "features",
        "Features to extract instead of the preset's, with lists such as i2vgen-xl:300,600:up_blocks[2]. Repeat.",
        flag="--feature",
        metavar="BACKBONE:TIMESTEP:TAP",
        shell_complete=_complete_feature,
    )
    weights: tuple[str, ...] = opt(
        "Folder or file of a backbone's weights, or a hub name; random:SEED[:PATH] for an untrained network.  "
        "[default: the published ones, in the hub cache]",
        metavar="[BACKBONE=]PATH",
    )
    frame_size: str | None = opt(
        "Short side in pixels, or HEIGHTxWIDTH; ~560 takes the nearest size that the backbone takes.  [default: the "
        "preset's, or 480, or the nearest below that the backbone takes]"
    )
    ensemble: int | None = of_preset("ensemble", "Noise draws to average.", type=at_least(1))
    overlap: int | None = of_preset("overlap", "Frames shared by neighbouring clips.", type=at_least(0))
    overlap_rule: Literal["first", "mean"] = opt(
        "Feature of a frame in several clips: from the first clip, or the mean.", "first"
    )
    seed: int = opt("Seed of the noise.", 0)
    noising: str | None = of_preset(
        "noising",
        "How clips get noise: random draws (as published), ddim-inversion:steps=50, none, or a noising of an installed "
        "package.",
        metavar="NAME[:OPTION=VALUE,...]",
    )

    def jobs(self) -> list["BackboneJob"]:
        """Return the features by backbone; those of the same passes are one job."""
        from ..choices.features import merge_jobs, parse_job

        return merge_jobs(map(parse_job, self.features or get_preset(self.preset).extracted))

    def size(self) -> "FrameSize | None":
        """Return the size of the frames, by default that of the preset."""
        from ...extract.frame_size import FrameSize

        size = self.frame_size or get_preset(self.preset).frame_size
        return None if size is None else FrameSize.parse(size)

    def settings(self, batch_size: int | None) -> "ExtractionSettings":
        """Return the settings of extraction, completed by the preset."""
        from ...extract.noising import parse_noising
        from ...extract.settings import ExtractionSettings

        preset = get_preset(self.preset)
        return ExtractionSettings(
            frame_size=self.size(),
            overlap=preset.overlap if self.overlap is None else self.overlap,
            overlap_rule=self.overlap_rule,
            noising=parse_noising(self.noising or preset.noising),
            ensemble=preset.ensemble if self.ensemble is None else self.ensemble,
            seed=self.seed,
            batch_size=batch_size,
        )


@command(json=True, config=True)
def extract(
    choice: VideoChoice,
    wanted: ExtractionChoice,
    inputs: BackboneChoice,
    cluster: SchedulerChoice,
    dtype: Literal["float32", "float16", "bfloat16"] = opt("Precision.", "float32", title="Computation"),
    batch_size: str | None = opt(
        "Clips (image backbones: frames) in a pass, or auto: as fit into memory.  [default: 8 frames, or one clip]",
        metavar="N|auto",
        callback=_batch_size,
    ),
    device: str | None = opt("Compute on auto, cpu, cuda or cuda:N; on a cluster, each worker's.  [default: auto]"),
    devices: str | None = opt("Run one process on each of these devices: 0,1,2,3 (CUDA), or cpu,cpu.", metavar="LIST"),
    shard: str | None = opt(
        "Only this shard of the videos and backbones: 1/N to N/N, or the SLURM array task's.", metavar="I/N|slurm"
    ),
    fail_fast: bool = opt("Stop at the first video that fails.  [default: continue]"),
    cache: Path = titled("Output", CACHE),
    store_as: str = opt(
        "Codec in the cache: float16, int8 (half), bitround:N, pca:N, pca:FILE (docs/reference/codecs.md).",
        "float16",
        metavar="FORM",
    ),
    overwrite: bool = opt("Compute complete units again."),
    dry_run: bool = opt("Write nothing; print units, bytes and, with weights, an estimate of the time."),
    timings: bool = opt("Also print where the time of each stage went."),
) -> None:
    """Write diffusion features of videos into the cache.

    SOURCE is the root of a dataset (DAVIS, YouTube-VOS, MOSE, VIP, Kubric; JHMDB), a pickle of TAP-Vid, a folder of
    frames or a video file. Run the same command again to resume an interrupted run; complete units are left alone.
    Several jobs with the same list share the work.

    For example:
        ted extract walk.mp4 --dry-run
        ted extract DAVIS --preset davis-best --batch-size auto
        ted extract walk.mp4 --feature demo-video:700:up_blocks[1] --feature demo-image:20:up_blocks[2]
    """
    from ...extract.backbones import backbone_info, check_options, check_weights
    from ...store import parse_codec, printable
    from ...store.errors import ConfigError
    from ..runs.extracting.checking import check_jobs, estimate_from_outlines, missing_weights
    from ..runs.extracting.request import ExtractionRequest, Share, parse_weights
    from ..runs.extracting.shards import parse_shard, take_shard
    from ..runs.progress import FrameBars

    if sum(option is not None for option in (device, devices)) == 2 or (devices and cluster.scheduler):
        raise ConfigError("--devices runs processes on this machine: leave out --device and --scheduler")
    if devices and overwrite:
        raise ConfigError("--devices cannot go with --overwrite: remove the units with `ted cache rm` first")
    codec = parse_codec(store_as)
    jobs, options, size = wanted.jobs(), inputs.options(), wanted.size()
    check_options(options, [job.backbone for job in jobs])
    paths = parse_weights(wanted.weights, jobs)
    check_jobs(jobs, size, paths)
    if cluster.scheduler:  # workers may run in other folders
        cache = cache.absolute()
        paths = {name: str(Path(path).absolute()) if Path(path).exists() else path for name, path in paths.items()}
        choice.sources = tuple(source.absolute() for source in choice.sources)
    videos = choice.open()
    named = (f"{job.backbone}:{','.join(map(str, job.timesteps))}:{','.join(job.taps)}" for job in jobs)
    click.echo(printable(f"{plural(len(videos), 'video')}; features {' '.join(named)}"), err=True)
    shares = [Share(job=job, video=video) for job in jobs for video in videos]
    if shard is not None:
        shares = take_shard(shares, parse_shard(shard, os.environ))
    missing = {} if cluster.scheduler else missing_weights([share.job for share in shares], paths)
    if missing and not (dry_run and all(backbone_info(name).outline for name in missing)):
        check_weights({name: paths.get(name) for name in missing})
    there = tuple(share for share in shares if share.job.backbone not in missing)
    absent = [share for share in shares if share.job.backbone in missing]
    rows = estimate_from_outlines(absent, size, codec)
    if missing and not there:  # without loading torch
        _print_estimates(rows, cache, missing)
        return
    request = ExtractionRequest(
        cache=cache,
        shares=there,
        weights=paths,
        settings=wanted.settings(int(batch_size) if batch_size not in (None, "auto") else None),
        dtype=dtype,
        options=options,
        codec=codec,
        overwrite=overwrite,
        adapt=batch_size == "auto",
    )
    if dry_run:
        from ..runs.devices import choose_device
        from ..runs.extracting.estimate import estimate

        rows += map(asdict, estimate(request, choose_device(device or "auto")))
        _print_estimates(rows, cache, missing)
        return
    from ..runs.extracting.running import Failure

    clock = time.monotonic()
    reports: list[ExtractionReport] = []
    failures: list[Failure] = []
    with FrameBars() as bars:
        for result in _results(request, bars, device=device or "auto", devices=devices, cluster=cluster):
            if isinstance(result, Failure):
                failures.append(result)
                bars.note(f"Error: {result.share.name}: {result.reason}")
                if fail_fast:
                    break
            else:
                report = result.report
                reports.append(report)
                done = f"{plural(report.frames_computed, 'frame')} in {report.seconds:.1f} s"
                done = f"{plural(len(report.written), 'unit')}, {done}" if report.written else "complete already"
                bars.note(f"{result.share.video.dataset}/{result.share.name}: {done}")
    summary: dict[str, Any] = {
        "written": [spec.label for report in reports for spec in report.written],
        "skipped": [spec.label for report in reports for spec in report.skipped],
        "failed": [
            {"video": item.share.video.name, "backbone": item.share.job.backbone, "reason": item.reason}
            for item in failures
        ],
        "seconds": round(time.monotonic() - clock, 2),
    }
    if timings:
        waits, stages = (_sum([getattr(report, name) for report in reports]) for name in ("waited", "stages"))
        summary["timings"] = {**{f"waiting for {what}": spent for what, spent in waits.items()}, **stages}
    for item in failures:  # again, at the end of a long log
        click.echo(f"failed: {item.share.name}: {item.reason}", err=True)
    answer(
        summary,
        *(f"{spent:>10.2f} s  {stage}" for stage, spent in summary.get("timings", {}).items()),
        f"{plural(len(summary['written']), 'unit')} written, {len(summary['skipped'])} complete already, "
        f"{plural(len(failures), 'video')} failed, in {summary['seconds']} s; cache: {cache}",
        then=[_next(wanted, videos)] if reports and not failures else [],
    )
    if failures:
        fail()


def _results(
    request: "ExtractionRequest", bars: "FrameBars", *, device: str, devices: str | None, cluster: SchedulerChoice
) -> Iterator["Extracted | Failure"]:
    """Extract on a cluster, on several devices or on one."""
    from ..runs.devices import choose_device
    from ..runs.extracting.running import extract as run

    if cluster.scheduler is not None:
        from ..runs.extracting.cluster import extract_on_cluster

        # Without a resource, a worker's threads would share its GPU.
        cluster.worker_resources = cluster.worker_resources or (("GPU=1",) if device != "cpu" else ())
        with cluster.connect() as workers:
            yield from extract_on_cluster(request, workers, device, progress=bars.start, say=bars.note)
    elif devices is not None:
        from ..runs.extracting.devices import extract_on_devices, parse_devices

        chosen = [choose_device(name) for name in parse_devices(devices)]
        yield from extract_on_devices(request, chosen, progress=bars.start, say=bars.note)
    else:
        yield from run(request, choose_device(device), progress=bars.start, say=bars.note)


def _next(wanted: ExtractionChoice, videos: "list[Video]") -> str:
    """Return the command that propagates along the extracted features, or that makes the first mask."""
    from ...store import safe_name
    from ..choices.features import parse_job
    from ..runs.extracting.request import parse_weights

    first = videos[0]
    masks: dict[str, Any] = {}
    if first.tasks[:1] == ("masks",) and not first.annotated_masks and not first.annotation_file:
        made = Path("masks") / safe_name(first.name)  # where `ted mask` writes
        if not made.is_dir():
            return next_command("mask", source=click.get_current_context().params["sources"][0])
        masks["annotations"] = made
    features: dict[str, Any] = {"preset": wanted.preset} if wanted.preset != DEFAULT else {}
    jobs = wanted.jobs()
    refine = "sam" in (job.backbone for job in jobs)  # its features are for the refiner
    if wanted.features and set(wanted.features) != set(get_preset(wanted.preset).extracted):
        given = [job for job in map(parse_job, wanted.features) if job.backbone != "sam"]
        names = [f"{job.backbone}:{job.timesteps[0]}:{job.taps[0]}" for job in given]  # of lists, the first
        features["features"] = [f"{name}={1 / len(names):.3g}" for name in names]  # equal weights
    weights = parse_weights(wanted.weights, jobs).get("sam")
    if refine and (weights or wanted.features):
        features["refine"] = f"sam:weights={weights}" if weights else "sam"
    return next_command("propagate", **masks, **features)


def _sum(parts: list[Mapping[str, float]]) -> dict[str, float]:
    """Add up seconds by name."""
    return {name: round(sum(part.get(name, 0.0) for part in parts), 3) for part in parts for name in part}


def _print_estimates(rows: list[dict[str, Any]], cache: Path, missing: "Mapping[str, WeightsError]") -> None:
    pending = [row for row in rows if row["state"] != "complete"]
    size = sum(row["bytes"] or 0 for row in pending)
    free, seconds, memory = free_space(cache), None, None
    cost = "time and memory unknown without weights"
    if not missing:
        seconds, memory = (
            round(sum(row["seconds"] for row in pending), 1),
            max((row["memory"] for row in rows), default=0),
        )
        cost = f"about {seconds:.0f} s and {memory / 1e9:.1f} GB of memory, estimated from one pass"
    lines = []
    for row in rows:
        megabytes = "?" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
        lines.append(f"{row['state']:<10} {row['frames']:>6} frames {megabytes:>10} MB  {row['label']}")
    total = {"bytes": size, "seconds": seconds, "memory": memory, "disk_free": free}
    answer(
        {"units": rows, **total, "missing_weights": [*missing]},
        *lines,
        f"to do: {plural(len(pending), 'unit')}, {size / 1e9:.3f} GB (free: {free / 1e9:.1f} GB), {cost}",
        *map(str, missing.values()),
        then=[next_command(dry_run=False)] if pending else [],
    )
