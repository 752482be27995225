"""``ted warp`` and ``ted learn-heads``."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..choices.hints import plural
from ..choices.presets import DEFAULT
from .base import Tally, answer, command, next_command, opt, titled
from .options import CACHE, TrackedVideos, at_least
from .setting_options import FusionChoice, KernelChoice

if TYPE_CHECKING:
    import torch

    from ...store import Cache
    from ..datasets.video import Video


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
    objective: Literal["frames", "token"] = opt(
        "frames: the first mask propagates to the other known masks. token: self-attention sharpens the attention map "
        "of each object's token (`ted learn-token`) to its mask, in the token's frame.",
        "frames",
        title="Learning",
    ),
    radius: int = opt(
        "Half the window's side, in cells of the feature grid; token uses the whole frame.", 15, type=at_least(0)
    ),
    steps: int = opt("Steps of Adam.", 300, type=at_least(1)),
    rate: float = opt("Learning rate of Adam.", 0.01, type=click.FloatRange(min=0, min_open=True)),
    penalty: float = opt("Cost of weights that differ from one another.", 0.01, type=click.FloatRange(min=0)),
    cache: Path = titled("Input and output", CACHE),
) -> None:
    """Learn weights of attention heads from videos whose masks are known in all frames, or from learned tokens.

    SOURCE is usually what `ted warp` wrote, with its features in the cache; with --objective token, it is the video
    itself. For each video, the weights are stored in the cache under the video's name, and
    `--kernel-option learned=true` of `ted propagate` uses them. No network runs.

    For example:
        ted learn-heads warped --preset drift
        ted learn-heads DAVIS --preset drift --objective token --steps 500 --penalty 0.1
        ted learn-heads warped --kernel attention --feature sd21:101:up_blocks[3].attentions[0].attn1:qk=1
    """
    from ...propagate import (
        AttentionKernel,
        FeatureReader,
        learn_head_weights,
        learn_head_weights_from_maps,
        store_head_weights,
    )
    from ...store import open_cache
    from ...store.errors import ConfigError
    from ..runs.propagating.units import find_weighted_units

    kernel, store = affinity.get(fusion), open_cache(cache)
    if not isinstance(kernel, AttentionKernel):
        raise ConfigError("weights of heads belong to the kernel attention: add --kernel attention")
    fit: dict[str, Any] = {"steps": steps, "rate": rate, "penalty": penalty}
    lines = []
    tally = Tally(partial(click.echo, err=True))
    for video in choice.open():
        with tally.item("video", video.name) as row:
            units = [unit for unit, _ in find_weighted_units(store, video, fusion.parts(), fusion.preferred())]
            grid = FeatureReader([(unit, 1.0) for unit in units]).grid
            if objective == "token":
                frame, maps, label, token = _token_inputs(store, video, units[0].request.weights, grid)
                learned = learn_head_weights_from_maps(units, frame, maps, label, kernel, **fit)
                about, where = {"objective": objective, "token": token, **fit}, "in the token's frame itself"
            else:
                learned = learn_head_weights(units, _known_labels(video, grid), kernel, radius=radius, **fit)
                about, where = {"radius": radius, **fit}, f"in {plural(len(learned.held_out), 'held-out frame')}"
            stored = store_head_weights(store, units, kernel, learned, about)
            row |= {"folder": str(stored.folder), "weights": list(learned.weights), "iou": dict(learned.iou)}
            row |= {"best_head": learned.best_head, "loss": learned.losses[-1]}
            scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in learned.iou.items())
            lines.append(f"{video.name}: IoU {where}: {scores} %")
    given = {name: value for name, value in vars(fusion).items() if value not in (None, (), DEFAULT, True)}
    used = {"kernel": kernel.name, "kernel_options": [*affinity.kernel_options, "learned=true"]}
    answer(
        {"videos": tally.rows},
        *lines,
        f"weights of the heads of {plural(len(lines), 'video')} in {cache}",
        then=[next_command("propagate", **given, **used)] if lines else [],
    )
    tally.finish()


def _known_labels(video: "Video", grid: tuple[int, int]) -> "dict[int, torch.Tensor]":
    """Return the known masks on a grid, (1 + object, y, x), by frame."""
    import numpy as np

    from ...propagate.targets.masks import cells_of_objects
    from ...propagate.targets.object_ids import object_mask
    from ...store.errors import LabelError
    from ..tasks.masks.frames import true_masks

    read = true_masks(video)
    found = {frame: read(frame) for frame in range(len(video.frames))}
    masks = {frame: object_mask(mask) for frame, mask in found.items() if mask is not None}
    if not masks:
        raise LabelError(f"{video.name} has no masks")
    ids = sorted({int(number) for mask in masks.values() for number in np.unique(mask)} - {0})
    return {frame: cells_of_objects(mask, ids, grid) for frame, mask in masks.items()}


def _token_inputs(
    store: "Cache", video: "Video", weights: str, grid: tuple[int, int]
) -> "tuple[int, torch.Tensor, torch.Tensor, str]":
    """Return the frame of a video's tokens, their maps there, the objects' mask on a grid, and the tokens' hash."""
    import numpy as np
    import torch

    from ...propagate.targets.masks import cells_of_objects
    from ...store import TOKEN
    from ...store.errors import Hint, LabelError, UnitNotFoundError
    from ..runs.extracting.running import find_artifact

    token = find_artifact(store, TOKEN.name, video, weights)
    if token is None:
        raise UnitNotFoundError(f"{video.name} has no token", hint=Hint("learn-token"))
    request = token.spec.request
    frame, mask = int(request["frame"]), video.read_annotated_masks().get(int(request["frame"]))
    if mask is None or video.frames.digest([frame]) != request["frames"]:
        raise LabelError(f"the token of {video.name} was learned in another frame", hint=Hint("learn-token"))
    ids = [int(name.rpartition(" ")[2]) for name in request["targets"]]
    label = cells_of_objects(np.where(np.isin(mask, ids), mask, 0).astype(np.uint8), ids, grid)
    height, width = request["grid"]
    return frame, torch.from_numpy(token["maps"][...]).view(-1, height, width), label, token.content_hash
