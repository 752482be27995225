"""``ted warp`` and ``ted learn-heads``."""

import shlex
from functools import partial
from pathlib import Path

import click

from ..choices.hints import plural
from ..choices.presets import DEFAULT
from .base import Tally, answer, command, next_command, opt, titled
from .options import CACHE, TrackedVideos, at_least
from .setting_options import FusionChoice, KernelChoice


@command(json=True)
def warp(
    choice: TrackedVideos,
    *,
    copies: int = opt("Number of warped copies of a frame.", 6, type=at_least(2, 1000), title="Output"),
    seed: int = opt("Seed of the warps.", 0, type=at_least(0)),
    out: Path = opt("Root to write, in DAVIS-2017's layout.", "warped"),
) -> None:
    """Write the first annotated frame of each video, and warped copies of it with their masks.

    Weights of attention heads are learned from such videos (`ted learn-heads`), since the masks of all frames are
    known. A copy is turned by up to 15 degrees, scaled by up to 15 % and moved by up to 8 % of its sides.

    For example:
        ted warp DAVIS --out warped
        ted warp walk.mp4 --mask first.png --copies 12
        ted warp DAVIS --videos camel --seed 1 --out other
    """
    from ..runs.warping import write_warped

    videos = choice.open()
    for video in videos:
        write_warped(out, video, copies=copies, seed=seed)
    answer(
        {"out": str(out), "videos": [video.name for video in videos]},
        f"{plural(len(videos), 'video')} of {copies + 1} frames in {out}",
        then=[f"ted {name} {shlex.quote(str(out))} --preset drift" for name in ("extract", "learn-heads")],
    )


@command("learn-heads", json=True)
def learn_heads(
    choice: TrackedVideos,
    fusion: FusionChoice,
    affinity: KernelChoice,
    *,
    radius: int = opt("Half the window's side, in cells of the feature grid.", 15, type=at_least(0), title="Learning"),
    steps: int = opt("Steps of Adam.", 300, type=at_least(1)),
    rate: float = opt("Learning rate of Adam.", 0.01, type=click.FloatRange(min=0, min_open=True)),
    penalty: float = opt("Cost of weights that differ from one another.", 0.01, type=click.FloatRange(min=0)),
    cache: Path = titled("Input and output", CACHE),
) -> None:
    """Learn weights of attention heads from videos whose masks are known in all frames.

    SOURCE is usually what `ted warp` wrote, with its features in the cache. For each video, the weights are stored in
    the cache under the video's name, and `--kernel-option learned=true` of `ted propagate` uses them. No network runs.

    For example:
        ted learn-heads warped --preset drift
        ted learn-heads warped --preset drift --steps 500 --penalty 0.1
        ted learn-heads warped --kernel attention --feature sd21:101:up_blocks[3].attentions[0].attn1:qk=1
    """
    import numpy as np

    from ...propagate import AttentionKernel, FeatureReader, learn_head_weights, store_head_weights
    from ...propagate.targets.masks import cells_of_objects
    from ...propagate.targets.object_ids import object_mask
    from ...store import open_cache
    from ...store.errors import ConfigError, LabelError
    from ..runs.propagating.units import find_weighted_units
    from ..tasks.masks.frames import true_masks

    kernel, store = affinity.get(fusion), open_cache(cache)
    if not isinstance(kernel, AttentionKernel):
        raise ConfigError("weights of heads belong to the kernel attention: add --kernel attention")
    about = {"radius": radius, "steps": steps, "rate": rate, "penalty": penalty}
    lines = []
    tally = Tally(partial(click.echo, err=True))
    for video in choice.open():
        with tally.item("video", video.name) as row:
            units = [unit for unit, _ in find_weighted_units(store, video, fusion.parts(), fusion.preferred())]
            grid, read = FeatureReader([(unit, 1.0) for unit in units]).grid, true_masks(video)
            found = {frame: read(frame) for frame in range(len(video.frames))}
            masks = {frame: object_mask(mask) for frame, mask in found.items() if mask is not None}
            if not masks:
                raise LabelError(f"{video.name} has no masks")
            ids = sorted({int(number) for mask in masks.values() for number in np.unique(mask)} - {0})
            labels = {frame: cells_of_objects(mask, ids, grid) for frame, mask in masks.items()}
            learned = learn_head_weights(units, labels, kernel, radius=radius, steps=steps, rate=rate, penalty=penalty)
            stored = store_head_weights(store, units, kernel, learned, about)
            row |= {"folder": str(stored.folder), "weights": list(learned.weights), "iou": dict(learned.iou)}
            row |= {"best_head": learned.best_head, "loss": learned.losses[-1]}
            scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in learned.iou.items())
            lines.append(f"{video.name}: IoU in {plural(len(learned.held_out), 'held-out frame')}: {scores} %")
    given = {name: value for name, value in vars(fusion).items() if value not in (None, (), DEFAULT, True)}
    used = {"kernel": kernel.name, "kernel_options": [*affinity.kernel_options, "learned=true"]}
    answer(
        {"videos": tally.rows},
        *lines,
        f"weights of the heads of {plural(len(lines), 'video')} in {cache}",
        then=[next_command("propagate", **given, **used)] if lines else [],
    )
    tally.finish()
