"""``ted learn-token``."""

from pathlib import Path
from typing import Any, Literal

import click

from ..choices.hints import plural
from .base import Tally, answer, command, next_command, opt, titled
from .extract import ExtractionChoice
from .options import CACHE, DEVICE, TrackedVideos, at_least
from .propagate import TaskChoice


@command("learn-token", json=True, config=True)
def learn_token(
    choice: TrackedVideos,
    goal: TaskChoice,
    *,
    backbone: str = opt("Backbone: an image diffusion model with cross-attention to text.", "sd21", title="Network"),
    weights: tuple[str, ...] = ExtractionChoice.weights,
    frame_size: str | None = opt(
        "Size of the frame, as in extraction.  [default: a short side of 480 pixels, or the nearest below]"
    ),
    layers: tuple[str, ...] = opt(
        "Match the mean map of the cross-attention layers whose names begin so. Repeat.  [default: the last block that "
        "has any: up_blocks[3] of sd21]",
        flag="--layer",
        metavar="NAME",
    ),
    timestep: int = opt("Noise level at which the network runs.", 100, type=at_least(0), title="Learning"),
    draws: int = opt("Noise draws in each step.", 4, type=at_least(1)),
    steps: int = opt("Steps of AdamW.", 100, type=at_least(1)),
    rate: float = opt("Learning rate of AdamW.", 0.01, type=click.FloatRange(min=0, min_open=True)),
    seed: int = opt("Seed of the noise.", 0),
    dtype: Literal["float32", "bfloat16"] = opt("Precision of the network.", "float32", title="Computation"),
    device: str = DEVICE,
    cache: Path = titled("Output", CACHE),
) -> None:
    """Learn a text token for each object of the first annotated frame (DRIFT-style).

    The network is not changed: only the token's text state is learned, so that its cross-attention map matches the
    mask. `ted extract --tokens` conditions on the stored tokens. Run the same command again to resume: videos whose
    tokens are stored are left alone, so that an interruption loses at most the tokens of one video.

    For example:
        ted learn-token walk.mp4 --mask first.png
        ted learn-token DAVIS --videos camel --steps 300 --draws 1
        ted learn-token DAVIS --weights sd21=stable-diffusion-2-1 --layer up_blocks[2] --layer up_blocks[3]
    """
    from ...extract.backbones import BACKBONES, backbone_info, check_weights
    from ...extract.frame_size import FrameSize
    from ...extract.settings import DEFAULT_OPTIONS
    from ...store import open_cache
    from ...store.errors import ConfigError
    from ..choices.features import BackboneJob
    from ..runs.extracting.request import Model, parse_weights
    from ..tasks.registry import task_of

    if "tokens" not in backbone_info(backbone).options:
        able = ", ".join(name for name, info in BACKBONES.items() if "tokens" in info.options)
        raise ConfigError(f"backbone {backbone!r} cannot be conditioned on tokens, only: {able}")
    size = None if frame_size is None else FrameSize.parse(frame_size)
    paths = parse_weights(weights, [BackboneJob(backbone=backbone, timesteps=(), taps=())])
    videos = choice.open()
    tasks = {video.name: task_of(video, goal.target, {"query_mode": goal.query_mode}) for video in videos}
    check_weights({backbone: paths.get(backbone)})

    from ..runs.devices import choose_device
    from ..runs.extracting.running import load
    from ..runs.learning_tokens import TokenSettings, learn_video_tokens
    from ..runs.progress import FrameBars

    model = Model(name=backbone, weights=paths.get(backbone), dtype=dtype, options=DEFAULT_OPTIONS)
    network, store = load(model, choose_device(device)), open_cache(cache, create=True)
    settings = TokenSettings(
        frame_size=size, layers=layers, timestep=timestep, draws=draws, steps=steps, rate=rate, seed=seed
    )
    lines = []
    with FrameBars() as bars:
        tally = Tally(bars.note)
        for video in videos:
            with tally.item("video", video.name) as row:
                run = tasks[video.name].start(video)
                advance = bars.start(video.name, steps, unit="step")
                found = learn_video_tokens(store, network, video, run, settings, progress=advance)
                names, curve = found.artifact.spec.request["targets"], found.artifact["losses"][...]
                before, after = curve[0].mean(), curve[-1].mean()
                row |= {"folder": str(found.artifact.folder), "objects": names, "left_out": list(found.left_out)}
                row |= {"inside": found.inside, "covered": found.covered}
                row |= {"learned": found.learned, "losses": curve.mean(1).tolist()}
                state = "" if found.learned else ", complete already"
                left_out = f"; left out, without a cell in this frame: {', '.join(found.left_out)}"
                lines.append(
                    f"{video.name}: {plural(len(names), 'token')}, loss {before:.3f} to {after:.3f}; "
                    f"{100 * found.inside:.0f} % of the attention inside masks that cover {100 * found.covered:.0f} %"
                    f"{state}{left_out if found.left_out else ''}"
                )
    tap = f"{next(reversed(network.attention_taps)).rpartition(':')[0]}:qk"
    features: dict[str, Any] = {"preset": "drift"} if backbone == "sd21" else {"features": [f"{backbone}:101:{tap}"]}
    given = {name: value for name, value in (("weights", weights), ("frame_size", frame_size)) if value}
    lost = sum(len(row["left_out"]) for row in tally.done)
    answer(
        {"videos": tally.rows, "left_out": lost},
        *lines,
        f"tokens of {plural(len(tally.done), 'video')} in {cache}, {plural(lost, 'object')} left out, "
        f"{plural(tally.failures, 'video')} failed",
        then=[next_command("extract", **features, **given, tokens=True)] if tally.done else [],
    )
    tally.finish()
