"""``ted sweep``."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import plural
from .cluster_options import cluster_options, open_workers
from .options import (
    CONTEXT,
    LocalPath,
    cache_option,
    config_option,
    json_option,
    open_videos,
    prefer_option,
    preset_option,
    source_options,
    truth_option,
)
from .setting_options import FROM_PRESET

if TYPE_CHECKING:
    from ..datasets.point_queries import QueryMode

_FEATURES = "BACKBONE[@DIGEST]:TIMESTEPS:TAPS"
_LISTS = (
    "features",
    "video_features",
    "image_features",
    "alpha",
    "temperature",
    "top_k",
    "radius",
    "context",
    "window",
    "unrestricted_first",
    "context_fill",
    "kernel",
    "kernel_options",
)
_CLUSTER = ("workers", "scheduler", "worker_threads", "worker_resources", "scheduler_timeout")


@click.command(context_settings=CONTEXT)
@source_options
@truth_option
@cache_option
@click.option("--out", type=LocalPath(), default="sweep", help="Folder of the results.")
@preset_option
@click.option(
    "--video-feature",
    "video_features",
    multiple=True,
    metavar=_FEATURES,
    help="Features with weight alpha; lists by comma, such as i2vgen-xl:300,600:up_blocks[1],up_blocks[2]. Repeat."
    + FROM_PRESET,
)
@click.option(
    "--image-feature",
    "image_features",
    multiple=True,
    metavar=_FEATURES,
    help=f"Features with weight 1 - alpha; all pairs of the two are swept. Repeat.{FROM_PRESET}",
)
@click.option(
    "--alpha",
    multiple=True,
    metavar="LIST",
    help=f"Weights of the video feature: 0:1:0.1 (both ends included), or 0,0.4,1.{FROM_PRESET}",
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    metavar=f"{_FEATURES}=WEIGHTS",
    help="Features of one part and its weights, such as rgb:0:stride4,stride8=0,0.5,1. Repeat for each part: all "
    "combinations are swept. Replaces --video-feature, --image-feature and --alpha.",
)
@click.option(
    "--temperature", multiple=True, metavar="LIST", help=f"Divisors of similarities before the softmax.{FROM_PRESET}"
)
@click.option("--top-k", multiple=True, metavar="LIST", help=f"Numbers of sources per pixel.{FROM_PRESET}")
@click.option("--radius", multiple=True, metavar="LIST", help=f"Half the window's side, in cells.{FROM_PRESET}")
@click.option(
    "--context", multiple=True, metavar="LIST", help=f"Numbers of last frames used beside the first.{FROM_PRESET}"
)
@click.option("--window", multiple=True, metavar="LIST", help=f"Shapes of the window: square,circle.{FROM_PRESET}")
@click.option(
    "--unrestricted-first",
    multiple=True,
    metavar="LIST",
    help=f"Whether annotated frames are searched without a window: true,false.{FROM_PRESET}",
)
@click.option(
    "--context-fill",
    multiple=True,
    metavar="LIST",
    help=f"Whether the first frame is repeated until the context is full: true,false.{FROM_PRESET}",
)
@click.option("--kernel", multiple=True, metavar="LIST", help="Affinity kernels.  [default: cosine]")
@click.option(
    "--kernel-option",
    "kernel_options",
    multiple=True,
    metavar="NAME=LIST",
    help="Values of a kernel's own parameter, such as gain=1:4:0.5. Repeat.",
)
@click.option("--renormalize/--no-renormalize", default=True, help="L2-normalise the fused feature again.")
@prefer_option
@click.option(
    "--target",
    metavar="TASK",
    help="What to track and score, where SOURCE has annotations for several tasks: boxes takes the boxes around the "
    "objects of masks.  [default: the first of masks, parts, joints, points, boxes that it has]",
)
@click.option(
    "--metrics",
    type=click.Choice(["jf", "j"]),
    help="Metrics of masks: J and F, or J alone (faster).  [default: jf]",
)
@click.option(
    "--query-mode",
    type=click.Choice(["first", "strided"]),
    default="first",
    help="Queries of TAP-Vid and of `ted synth`: each point once, in the first frame where it is visible; or in every "
    "fifth frame, tracked forward and backward.",
)
@click.option(
    "--affinities-only",
    is_flag=True,
    help="Only compute affinities and cache them for later sweeps; this needs no ground truth.",
)
@click.option(
    "--keep-affinities/--discard-affinities",
    default=True,
    help="Keep affinities in the cache, which makes the next sweep cheap, or remove those that this sweep wrote.",
)
@click.option("--plots/--no-plots", default=True, help="Draw the results (needs matplotlib).")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@cluster_options
@click.option("--overwrite", is_flag=True, help="Discard the scores in the folder, and compute them again.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and compute nothing.")
@json_option
@config_option
def sweep(
    cache: Path,
    out: Path,
    preset: str,
    prefer: tuple[str, ...],
    target: str | None,
    metrics: str | None,
    query_mode: "QueryMode",
    affinities_only: bool,
    keep_affinities: bool,
    plots: bool,
    device: str,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Score many settings of propagation on the same cached features.

    SOURCE is a dataset with ground truth: DAVIS, Kubric, the train splits of YouTube-VOS and MOSE (ranked by J&F); VIP
    (mIoU); JHMDB (PCK@0.2, then PCK@0.1); a pickle of TAP-Vid, or the Tracks of `ted synth` (AJ); with --target boxes,
    the boxes around objects of masks (IoU, then success). Your own video takes true masks of any frames with --truth,
    and starts from --mask, --annotations or the first of them. Every combination of the values is scored, exactly as
    `ted propagate` and `ted evaluate` would score it, but affinities are computed once for all of them. The command
    writes tables, the best settings and pictures into a folder. Run it again to finish an interrupted sweep, or with
    more values: only missing scores are computed.
    """
    from ...store import open_cache, printable
    from ...store.errors import ConfigError, TedError
    from ..choices.features import parse_preference
    from ..choices.presets import get_preset
    from ..runs.devices import choose_device
    from ..runs.sweeping.journal import open_journal, read_journal
    from ..runs.sweeping.planning import survey_sweep, sweep_result
    from ..runs.sweeping.request import make_space, preset_setting, space_options
    from ..runs.sweeping.running import keep_all_affinities, run_sweep
    from ..runs.sweeping.summary import SweepBars, best_lines, describe_plan, plan_lines
    from ..runs.sweeping.tables import describe, write_outputs
    from ..tasks.registry import common_task

    if affinities_only and not keep_affinities:
        raise ConfigError("--affinities-only keeps affinities and --discard-affinities removes them: leave one out")
    chosen = get_preset(preset)
    lists = {name: options.pop(name) for name in _LISTS}
    space = make_space(lists, chosen, renormalize=options.pop("renormalize"))
    preferences = [parse_preference(text) for text in prefer]
    preferences += chosen.preferences
    scheduler = options["scheduler"]
    connection = open_workers(**{name: options.pop(name) for name in _CLUSTER})
    videos = open_videos(**options)
    source = open_cache(cache.absolute())
    where = choose_device(device, elsewhere=scheduler is not None)
    task = common_task(videos, target, {"metrics": metrics, "query_mode": query_mode})
    if metrics is not None and not hasattr(task, "metrics"):
        raise ConfigError(f"--metrics is for masks, and these videos have {task.name}: leave it out")
    # Find errors before anything is written.
    survey = survey_sweep(source, videos, space, task=task, score=not affinities_only, prefer=preferences)
    if dry_run:
        plan = survey.plan(() if affinities_only or overwrite else read_journal(out))
        described = describe_plan(plan, source)
        lines = [*plan_lines(described), "next: the same command without --dry-run"]
        click.echo(json.dumps(described, indent=1) if as_json else "\n".join(lines))
    elif affinities_only:
        plan = survey.plan(())
        with connection as workers, SweepBars(plan) as bars:
            plan, timing = keep_all_affinities(source, plan, workers=workers, device=where, progress=bars)
        done = [one for one in plan.videos if one.video.name not in plan.failures]
        complete = len({target.folder for one in done for target in one.targets})
        values = {"affinity_units": complete, "failures": dict(plan.failures), "seconds": timing}
        text = f"{plural(complete, 'affinity unit')} in {cache}\nnext: the same command without --affinities-only"
        click.echo(json.dumps(values, indent=1) if as_json else text)
    elif not survey.videos:
        reasons = [f"{name}: {reason}" for name, reason in survey.failures.items()]
        raise TedError("\n".join(["no video can be swept, and nothing was written", *reasons]))
    else:
        with connection as workers, open_journal(out, overwrite=overwrite) as journal:
            plan = survey.plan(journal.scores)
            with SweepBars(plan) as bars:
                plan, timing = run_sweep(
                    source, plan, journal, workers=workers, device=where, keep=keep_affinities, progress=bars
                )
            result = sweep_result(plan, journal)
            known = {parameter.name for parameter in click.get_current_context().command.params}
            used = {name: value for name, value in task.used_options(videos[0]).items() if name in known}
            resolved = {"cache": source.root, **space_options(space), **used}
            resolved |= {"prefer": [f"{field}={value}" for field, value in preferences]}
            files = write_outputs(
                result, out, options=resolved, timing=timing, plots=plots, compare=preset_setting(chosen)
            )
        if as_json:
            values = {
                "out": str(out),
                "settings": len(plan.settings),
                "missing_videos": result.missing,
                "best": describe(result.ranking[0]) if result.ranking else None,
                "failures": dict(plan.failures),
                "files": [str(path) for path in files],
                "timing": timing,
            }
            click.echo(json.dumps(values, indent=1))
        else:
            named = printable(shlex.join(map(str, options["sources"])))
            click.echo("\n".join([*best_lines(result), f"tables and pictures: {out}"]))
            if result.ranking:
                best = result.ranking[0].setting.options
                click.echo(f"next: ted propagate {named} --cache {shlex.quote(str(cache))} {best}")
            click.echo(f"      ted report {shlex.quote(str(out))}")
    if plan.failures:
        sys.exit(1)
