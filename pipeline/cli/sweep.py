"""``ted sweep``."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from ..choices.hints import plural
from ..choices.presets import get_preset
from .base import Options, answer, command, fail, next_command, opt, titled
from .options import CACHE, DEVICES, PREFER, PRESET, ClusterChoice, ScoredVideos
from .propagate import TaskChoice
from .report import report_command
from .setting_options import RENORMALIZE, complete_feature, of_preset, preferences


def _list(field: str, help_text: str, **settings: Any) -> Any:
    return of_preset(field, help_text, **{"metavar": "LIST"} | settings)


_FEATURE = {"metavar": "BACKBONE[@DIGEST]:TIMESTEPS:TAPS", "shell_complete": complete_feature}


class ListChoice(Options, title="Values to sweep, as lists (0,0.4,1) or ranges (0:1:0.1, both ends included)"):
    """Lists of values of settings, for `make_space`."""

    video_features: tuple[str, ...] = _list(
        "video_feature",
        "Features with weight alpha; lists by comma, such as i2vgen-xl:300,600:up_blocks[1],up_blocks[2]. Repeat.",
        flag="--video-feature",
        **_FEATURE,
    )
    image_features: tuple[str, ...] = _list(
        "image_feature",
        "Features with weight 1 - alpha; all pairs of the two are swept. Repeat.",
        flag="--image-feature",
        **_FEATURE,
    )
    alpha: tuple[str, ...] = _list("alpha", "Weights of the video feature.")
    features: tuple[str, ...] = opt(
        "Features of one part and its weights, such as rgb:0:stride4,stride8=0,0.5,1. Repeat for each part: all "
        "combinations are swept. Replaces --video-feature, --image-feature and --alpha.",
        flag="--feature",
        metavar="BACKBONE[@DIGEST]:TIMESTEPS:TAPS=WEIGHTS",
        shell_complete=complete_feature,
    )
    temperature: tuple[str, ...] = _list("temperature", "Divisors of similarities before the softmax.")
    top_k: tuple[str, ...] = _list("top_k", "Numbers of sources per pixel.")
    radius: tuple[str, ...] = _list("radius", "Half the window's side, in cells of the feature grid.")
    context: tuple[str, ...] = _list("context", "Numbers of last frames used beside the first.")
    window: tuple[str, ...] = _list("window", "Shapes of the window: square,circle.")
    unrestricted_first: tuple[str, ...] = _list(
        "unrestricted_first", "Whether annotated frames are searched without a window: true,false."
    )
    context_fill: tuple[str, ...] = _list(
        "context_fill", "Whether the first frame is repeated until the context is full: true,false."
    )
    kernel: tuple[str, ...] = opt("Affinity kernels.  [default: cosine]", metavar="LIST")
    kernel_options: tuple[str, ...] = opt(
        "Values of a kernel's own parameter, such as gain=1:4:0.5. Repeat.",
        flag="--kernel-option",
        metavar="NAME=LIST",
    )


@command(json=True, config=True)
def sweep(
    choice: ScoredVideos,
    lists: ListChoice,
    goal: TaskChoice,
    cluster: ClusterChoice,
    preset: str = titled("Features and scores", PRESET),
    prefer: tuple[str, ...] = PREFER,
    renormalize: bool = RENORMALIZE,
    metrics: Literal["jf", "j"] | None = opt("Metrics of masks: J and F, or J alone (faster).  [default: jf]"),
    device: str = titled("Computation", DEVICES),
    affinities_only: bool = opt("Only compute affinities and cache them for later sweeps; this needs no ground truth."),
    keep_affinities: bool = opt(
        "Keep affinities in the cache, which makes the next sweep cheap, or remove those that this sweep wrote.",
        True,
        flag="--keep-affinities/--discard-affinities",
    ),
    dry_run: bool = opt("Print the plan, and compute nothing."),
    cache: Path = titled("Input and output", CACHE),
    out: Path = opt("Folder of the results.", "sweep"),
    plots: bool = opt("Draw the results (needs matplotlib).", True, flag="--plots/--no-plots"),
    overwrite: bool = opt("Discard the scores in the folder, and compute them again."),
) -> None:
    """Score many settings of propagation on the same cached features.

    SOURCE is a dataset with ground truth: DAVIS, Kubric, the train splits of YouTube-VOS and MOSE (ranked by J&F); VIP
    (mIoU); JHMDB (PCK@0.2, then PCK@0.1); a pickle of TAP-Vid, or the Tracks of `ted synth` (AJ); with --target boxes,
    the boxes around objects of masks (IoU, then success). Your own video takes true masks of any frames with --truth,
    and starts from --mask, --annotations or the first of them. Every combination of the values is scored, exactly as
    `ted propagate` and `ted evaluate` would score it, but affinities are computed once for all of them. The command
    writes tables, the best settings and pictures into a folder. Run it again to finish an interrupted sweep, or with
    more values: only missing scores are computed.

    For example:
        ted sweep DAVIS --alpha 0:1:0.1 --temperature 0.05,0.1,0.2 --dry-run
        ted sweep DAVIS --radius 8,15,30 --context 7,14,28 --workers 4
        ted sweep YouTube-VOS/train --videos similar.txt --preset youtube-similar-best --out sweeps/similar
    """
    chosen = get_preset(preset)
    videos = choice.open(cache)  # wrong paths are answered before torch is loaded
    from ...store import open_cache
    from ...store.errors import ConfigError, TedError
    from ..runs.devices import choose_devices
    from ..runs.sweeping.journal import open_journal, read_journal
    from ..runs.sweeping.planning import survey_sweep, sweep_result
    from ..runs.sweeping.request import make_space, preset_setting, space_options
    from ..runs.sweeping.running import keep_all_affinities, run_sweep
    from ..runs.sweeping.summary import SweepBars, best_lines, describe_plan, plan_lines
    from ..runs.sweeping.tables import describe, write_outputs
    from ..tasks.registry import common_task

    if affinities_only and not keep_affinities:
        raise ConfigError("--affinities-only keeps affinities and --discard-affinities removes them: leave one out")
    space = make_space(vars(lists), chosen, renormalize=renormalize)
    preferred = preferences(preset, prefer)
    source = open_cache(cache.absolute())
    where, *others = choose_devices(device, elsewhere=cluster.scheduler is not None)
    connection = cluster.connect([where, *others])
    task = common_task(videos, goal.target, {"metrics": metrics, "query_mode": goal.query_mode})
    if metrics is not None and not hasattr(task, "metrics"):
        raise ConfigError(f"--metrics is for masks, and these videos have {task.name}: leave it out")
    # Find errors before anything is written.
    survey = survey_sweep(source, videos, space, task=task, score=not affinities_only, prefer=preferred)
    if dry_run:
        plan = survey.plan(() if affinities_only or overwrite else read_journal(out))
        described = describe_plan(plan, source)
        answer(described, *plan_lines(described), then=[next_command(dry_run=False)])
    elif affinities_only:
        plan = survey.plan(())
        with connection as workers, SweepBars(plan) as bars:
            plan, timing = keep_all_affinities(source, plan, workers=workers, device=where, progress=bars)
        done = [one for one in plan.videos if one.video.name not in plan.failures]
        complete = len({item.folder for one in done for item in one.targets})
        answer(
            {"affinity_units": complete, "failures": dict(plan.failures), "seconds": timing},
            f"{plural(complete, 'affinity unit')} in {cache}",
            then=[next_command(affinities_only=False)],
        )
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
            result = replace(sweep_result(plan, journal), preferred=preferred)
            known = {parameter.name for parameter in click.get_current_context().command.params}
            used = {name: value for name, value in task.used_options(videos[0]).items() if name in known}
            resolved = {"cache": source.root, **space_options(space), **used}
            resolved |= {"prefer": [f"{field}={value}" for field, value in preferred]}
            files = write_outputs(
                result, out, options=resolved, timing=timing, plots=plots, compare=preset_setting(chosen)
            )
        steps = [report_command(out)]
        if result.ranking:
            masks = [mask.path for mask in videos[0].annotated_masks.values()] if choice.truth else []
            start = {"mask": masks[0]} if masks and not (choice.mask or choice.annotations) else {}
            mode = goal.query_mode if goal.query_mode != "first" else None
            best = next_command("propagate", out=f"{out}-best", target=goal.target, query_mode=mode, **start)
            steps.insert(0, f"{best} {result.options(result.ranking[0].setting)}")
        answer(
            {
                "out": str(out),
                "settings": len(plan.settings),
                "missing_videos": result.missing,
                "best": describe(result, result.ranking[0]) if result.ranking else None,
                "failures": dict(plan.failures),
                "files": [str(path) for path in files],
                "timing": timing,
            },
            *best_lines(result),
            f"tables{' and pictures' if plots else ''}: {out}",
            then=steps,
        )
    if plan.failures:
        fail()
