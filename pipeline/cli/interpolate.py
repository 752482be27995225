"""``ted interpolate``."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..choices.hints import plural
from .base import Options, answer, command, fail, free_space, next_command, opt, titled
from .extract import ExtractionChoice
from .options import CACHE, TrackedVideos, at_least
from .propagate import TaskChoice

if TYPE_CHECKING:
    from ...extract.interpolation.settings import InterpolationSettings
    from ..runs.extracting.running import Failure
    from ..runs.interpolating import Interpolated, InterpolationRequest
    from ..runs.progress import FrameBars


class TuningChoice(Options, title="Fine-tuning and roll-out"):
    """Settings of fine-tuning and roll-out."""

    operator: Literal["offset", "blend", "to-next", "from-previous", "reconstruction"] = opt(
        "What the network learns between two frames: their offset (2d), or other operators (2a, 2b, 2c); or the next "
        "frame from noise.",
        "offset",
    )
    pair_steps: int = opt(
        "Steps of fine-tuning on each pair of frames; 500 as in the paper need a GPU. 0 is the control without "
        "fine-tuning.",
        500,
        type=at_least(0),
    )
    rate: float = opt("Learning rate of Adam.", 3e-5, type=click.FloatRange(min=0, min_open=True))
    tune: Literal["attention-queries", "attention", "all"] = opt(
        "Weights that are fine-tuned; all as in the paper.", "attention-queries"
    )
    warm_start: bool = opt(
        "Start each pair from the weights of the pair before, or from the pretrained ones.",
        True,
        flag="--warm-start/--no-warm-start",
    )
    roll_steps: int = opt("T, the steps of the roll-out from a frame to the next.", 50, type=at_least(1))
    top_timestep: int | None = opt(
        "The network's timestep at the first step of the roll-out; the others fall evenly.  [default: the last]",
        type=at_least(0),
    )
    seed: int = opt("Seed of the draws.", 0)


class ReadingChoice(Options, title="Attention"):
    """Attention that is read."""

    layers: tuple[str, ...] = opt(
        "Read the layers whose names begin so. Repeat.",
        ("up_blocks[1]", "up_blocks[2]", "up_blocks[3]"),
        flag="--layer",
        metavar="NAME",
    )
    read_share: float = opt(
        "Share of the roll-out's steps, the last ones, in which attention is read.",
        0.8,
        type=click.FloatRange(0, 1, min_open=True),
    )
    slots: int = opt("Largest self-attention weights that are kept for each cell.", 64, type=at_least(1))


class IndicatorChoice(Options, title="Targets"):
    """How the network knows the targets."""

    indicator: Literal["tokens", "words", "none"] | None = opt(
        "tokens: a text token is learned for each target of the first annotated frame, or taken from the cache "
        "(`ted learn-token`). words: words of the prompt. none: self-attention alone.  [default: words with --word, "
        "tokens for networks with text, none for others]"
    )
    prompt: str | None = opt("Prompt with the words that name the targets.", metavar="TEXT")
    word: tuple[str, ...] = opt("Word or phrase of the prompt for a target, in order. Repeat.", metavar="TEXT")
    token_steps: int = opt("Steps in which tokens are learned.", 100, type=at_least(1))
    update: Literal["never", "every-pair"] = opt(
        "Learn the tokens again for each pair, from the result of the pair before.", "never"
    )
    update_steps: int = opt("Steps in which tokens are learned again.", 20, type=at_least(1))


@command(json=True, config=True)
def interpolate(
    choice: TrackedVideos,
    goal: TaskChoice,
    hints: IndicatorChoice,
    tuning: TuningChoice,
    reading: ReadingChoice,
    *,
    backbone: str = opt("Backbone: a diffusion network of single frames.", "sd21", title="Network"),
    weights: tuple[str, ...] = ExtractionChoice.weights,
    frame_size: str | None = ExtractionChoice.frame_size,
    device: str | None = opt("Compute on auto, cpu, cuda or cuda:N.  [default: auto]", title="Computation"),
    devices: str | None = opt("Run one process on each of these devices: 0,1,2,3 (CUDA), or cpu,cpu.", metavar="LIST"),
    cache: Path = titled("Output", CACHE),
    overwrite: bool = opt("Compute complete videos again."),
    dry_run: bool = opt("Write nothing; print pairs, bytes, and an estimate of time and memory."),
) -> None:
    """Fine-tune a network on each pair of frames, and write its attention between them (DINTR-style).

    This is stage 1 of tracking by interpolation; `ted readout` is stage 2. Each pair is stored when it is done: run the
    same command again to resume. On a processor, take --pair-steps 20 and a small --frame-size, after a --dry-run.

    For example:
        ted interpolate walk.mp4 --mask first.png --dry-run
        ted interpolate DAVIS --videos camel --pair-steps 100 --devices 0,1
        ted interpolate walk.mp4 --prompt "a red ball" --word ball --operator reconstruction
    """
    from ...extract.backbones import check_weights
    from ...extract.frame_size import FrameSize
    from ...extract.settings import BackboneOptions
    from ...store.errors import ConfigError
    from ..choices.features import BackboneJob
    from ..runs.extracting.request import Model, Share, parse_weights

    if device and devices:
        raise ConfigError("--devices runs processes on this machine: leave out --device")
    if devices and overwrite:
        raise ConfigError("--devices cannot go with --overwrite: remove the units with `ted cache rm` first")
    indicator = hints.indicator or ("words" if hints.word else None)
    if (indicator == "words") != bool(hints.word) or bool(hints.word) != bool(hints.prompt):
        raise ConfigError(
            "words of the targets need all of: --prompt, --word for each target, and no other --indicator"
        )
    job = BackboneJob(backbone=backbone, timesteps=(), taps=())
    paths = parse_weights(weights, [job])
    size = None if frame_size is None else FrameSize.parse(frame_size)
    videos = choice.open()
    check_weights({backbone: paths.get(backbone)})

    from ..runs.interpolating import InterpolationRequest
    from ..runs.learning_tokens import TokenSettings
    from ..runs.progress import FrameBars

    request = InterpolationRequest(
        cache=cache,
        shares=tuple(Share(job=job, video=video) for video in videos),
        model=Model(
            name=backbone, weights=paths.get(backbone), dtype="float32", options=BackboneOptions(prompt=hints.prompt)
        ),
        settings=_settings(tuning, reading, size),
        indicator=indicator,
        words=hints.word,
        target=goal.target,
        query_mode=goal.query_mode,
        tokens=TokenSettings(frame_size=size, steps=hints.token_steps, seed=tuning.seed),
        update_steps=hints.update_steps if hints.update == "every-pair" else 0,
        overwrite=overwrite,
    )
    if dry_run:
        _print_estimates(request, device or "auto")
        return
    from ..runs.extracting.running import Failure

    clock, done, failures = time.monotonic(), [], []
    with FrameBars() as bars:
        for result in _results(request, bars, device or "auto", devices):
            name = result.share.video.name
            if isinstance(result, Failure):
                failures.append({"video": name, "reason": result.reason})
                bars.note(f"Error: {name}: {result.reason}")
                continue
            report = result.report
            pairs = f"{plural(report.frames_computed, 'frame')} in {report.seconds:.1f} s"
            bars.note(f"{name}: {pairs if report.written else 'complete already'}")
            done.append({"video": name, "frames_computed": report.frames_computed, "remarks": list(report.remarks)})
    seconds = round(time.monotonic() - clock, 2)
    kept = {"target": goal.target} if goal.target else {}
    answer(
        {"videos": done, "failed": failures, "seconds": seconds},
        f"attention of {plural(len(done), 'video')} in {cache}, {len(failures)} failed, in {seconds} s",
        then=[next_command("readout", **kept)] if done else [],
    )
    if failures:
        fail()


def _settings(tuning: TuningChoice, reading: ReadingChoice, size: "object") -> "InterpolationSettings":
    from ...extract.interpolation.settings import InterpolationSettings

    values = {**vars(tuning), **vars(reading), "frame_size": size}
    return InterpolationSettings(tuned=values.pop("tune"), **values)


def _results(
    request: "InterpolationRequest", bars: "FrameBars", device: str, devices: str | None
) -> "Iterator[Interpolated | Failure]":
    from ..runs.devices import choose_device
    from ..runs.extracting.devices import parse_devices, run_on_devices
    from ..runs.interpolating import interpolate as run

    if devices is not None:
        chosen = [choose_device(name) for name in parse_devices(devices)]
        yield from run_on_devices(request, chosen, run, progress=partial(bars.start, unit="video"), say=bars.note)
    else:
        yield from run(request, choose_device(device), progress=partial(bars.start, unit="pass"), say=bars.note)


def _print_estimates(request: "InterpolationRequest", device: str) -> None:
    from dataclasses import asdict

    from ..runs.devices import choose_device
    from ..runs.interpolating import estimate

    rows = [asdict(row) for row in estimate(request, choose_device(device))]
    seconds = sum(row["seconds"] for row in rows)
    memory, size = max(row["memory"] for row in rows), sum(row["bytes"] for row in rows if row["state"] != "complete")
    free = free_space(request.cache)
    shown = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
    answer(
        {"videos": rows, "seconds": seconds, "bytes": size, "memory": memory, "disk_free": free},
        *(f"{row['state']:<10} {row['frames']:>6} frames {row['seconds']:>9.0f} s  {row['video']}" for row in rows),
        f"to do: about {shown} and {memory / 1e9:.1f} GB of memory, estimated from one step; at most "
        f"{size / 1e9:.3f} GB on the disk (free: {free / 1e9:.1f} GB)",
        then=[next_command(dry_run=False)] if any(row["frames"] for row in rows) else [],
    )
