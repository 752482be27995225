"""Stage 1 of tracking by interpolation (DINTR-style): targets of videos, and the attention between their frames."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ...extract.backbones.base import Backbone
from ...extract.backbones.latent import TextBackbone, with_tokens
from ...extract.interpolation.plan import Indicator, InterpolationPlan, plan_interpolation
from ...extract.interpolation.settings import InterpolationSettings
from ...extract.interpolation.video import InterpolationReport, interpolate_video, measure_passes
from ...extract.runtime import MemoryMeter
from ...store import Cache, open_cache
from ...store.errors import ClaimedError, ConfigError, LabelError, TedError
from ..choices.hints import explain
from ..datasets.video import Video
from ..tasks.registry import task_of
from ..tasks.running import describe_targets
from .extracting.request import Model, Share
from .extracting.running import Failure, load
from .learning_tokens import TokenSettings, learn_video_tokens
from .updating_tokens import UpdatedTokens, describe_updates

#: What tells the network which targets to follow: tokens that are learned for them, words of the prompt, or nothing.
IndicatorKind = Literal["tokens", "words", "none"]

#: Seconds between two checks of videos that other processes have claimed.
_LOOK_S = 5.0

#: Function of a title and a number of passes that returns a callback for the number of passes just done.
Progress = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True, kw_only=True)
class InterpolationRequest:
    """What to interpolate, how, and where to. Processes receive it pickled.

    Attributes
    ----------
    cache
        Folder of the cache.
    shares
        The videos, with the backbone.
    model
        The backbone to load; its options have the prompt.
    settings
        Settings of interpolation.
    indicator
        What tells the network the targets; None for tokens if it takes text, and nothing otherwise.
    words
        With ``"words"``, a word or phrase of the prompt for each target.
    target, query_mode
        What is tracked, as for `task_of`.
    tokens
        Settings of learning tokens.
    update_steps
        Steps in which tokens are learned again for each pair, from the result of the pair before; 0 for never.
    overwrite
        Whether to compute complete units again.
    """

    cache: Path
    shares: tuple[Share, ...]
    model: Model
    settings: InterpolationSettings
    indicator: IndicatorKind | None = None
    words: tuple[str, ...] = ()
    target: str | None = None
    query_mode: str = "first"
    tokens: TokenSettings
    update_steps: int = 0
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Interpolated:
    """A share that is complete now."""

    share: Share
    report: InterpolationReport


def interpolate(
    request: InterpolationRequest, device: torch.device, *, progress: Progress, say: Callable[[str], None]
) -> Iterator[Interpolated | Failure]:
    """Interpolate videos on one device, one after the other; those that other processes have claimed come last.

    Yields
    ------
    Interpolated or Failure
        One for each share, as they are done.

    Raises
    ------
    ConfigError
        For an option that is wrong for every video.
    """
    cache = open_cache(request.cache, create=True)
    backbone = load(request.model, device)
    remaining: Sequence[Share] = request.shares
    told: list[Share] = []
    while remaining:
        claimed: list[Share] = []
        for share in remaining:
            try:
                yield Interpolated(
                    share=share, report=_interpolate_share(request, share, cache, backbone, progress, say)
                )
            except ClaimedError as error:
                claimed.append(share)
                reason = str(error)
            except ConfigError:
                raise
            except TedError as error:
                yield Failure(share=share, reason=explain(error))
        if claimed and claimed != told:
            say(f"waiting for other processes: {reason}")
        if len(claimed) == len(remaining):  # no progress
            time.sleep(_LOOK_S)
        remaining = told = claimed


def _interpolate_share(
    request: InterpolationRequest,
    share: Share,
    cache: Cache,
    backbone: Backbone,
    progress: Progress,
    say: Callable[[str], None],
) -> InterpolationReport:
    video = share.video
    indicator = find_indicator(
        request, video, cache, backbone, progress=lambda total: progress(f"{video.name}: tokens", total)
    )
    plan = plan_share(request, video, backbone, indicator)
    update = _update(request, video, backbone, plan) if request.update_steps else None
    return interpolate_video(
        cache,
        backbone,
        video.frames,
        plan,
        update=update,
        overwrite=request.overwrite,
        progress=lambda total: progress(video.name, total),
        say=lambda remark: say(f"{video.name}: {remark}"),
    )


def plan_share(
    request: InterpolationRequest, video: Video, backbone: Backbone, indicator: Indicator
) -> InterpolationPlan:
    """Plan the interpolation of a video; raises as `plan_interpolation`."""
    return plan_interpolation(
        backbone,
        video.frames,
        dataset=video.dataset,
        video=video.name,
        settings=request.settings,
        indicator=indicator,
    )


def find_indicator(
    request: InterpolationRequest,
    video: Video,
    cache: Cache,
    backbone: Backbone,
    *,
    progress: Callable[[int], Callable[[int], None]] = lambda total: lambda done: None,
    learn: bool = True,
) -> Indicator:
    """Return a video's targets and their text.

    Tokens are read from the cache, or learned and stored. With `learn` off, the text states of tokens have no meaning:
    they serve to measure times.

    Raises
    ------
    ConfigError
        For a backbone without text, a word that the prompt does not have, or as many words as no video has targets.
    LabelError
        For annotations that cannot be used.
    """
    has_text = isinstance(backbone, TextBackbone) and backbone.text_states.shape[1] > 1  # a placeholder may have one
    kind = request.indicator or ("tokens" if has_text else "none")
    if kind == "none":
        return Indicator()
    if not isinstance(backbone, TextBackbone) or backbone.text is None:
        raise ConfigError(f"backbone {backbone.name!r} takes no text: its targets can have no {kind}")
    height, width = backbone.processed_size(video.frames.size, request.settings.frame_size)
    grid = height // backbone.frame_encoder.stride, width // backbone.frame_encoder.stride
    if kind == "words":
        return _words(request, video, backbone, grid)
    run = task_of(video, request.target, {"query_mode": request.query_mode}).start(video)
    described = describe_targets(run, grid)
    names: tuple[str, ...] = tuple(described["targets"])
    states = backbone.text.encode("")
    if not learn:
        states = with_tokens(states, torch.zeros(len(names), states.shape[2]))
        return Indicator(targets=names, text_states=states, tokens=((1,),) * len(names))
    advance = progress(request.tokens.steps)
    found = learn_video_tokens(cache, backbone, video, run, request.tokens, progress=advance).artifact
    learned = {name: (1 + position,) for position, name in enumerate(found.spec.request["targets"])}
    again = {"update": describe_updates(_update_settings(request))} if request.update_steps else {}
    text = {"indicator": "tokens", "token": found.content_hash, **again}
    return Indicator(
        targets=names,
        text_states=with_tokens(states, torch.from_numpy(found["tokens"][...])),
        tokens=tuple(learned.get(name, ()) for name in names),
        identity={**text, "annotations": described["annotations"]},
    )


def _update(request: InterpolationRequest, video: Video, backbone: Backbone, plan: InterpolationPlan) -> UpdatedTokens:
    """Return the object that learns a video's tokens again for each pair."""
    states, positions = plan.indicator.text_states, plan.indicator.tokens
    if states is None or "token" not in plan.indicator.identity:
        raise ConfigError("only tokens are learned again for each pair: the targets of this run have none")
    run = task_of(video, request.target, {"query_mode": request.query_mode}).start(video)
    return UpdatedTokens(
        backbone,
        run.targets,
        plan.grid,
        states=states,
        positions=[at[0] if at else None for at in positions],
        settings=_update_settings(request),
        video=video.name,
    )


def _update_settings(request: InterpolationRequest) -> TokenSettings:
    return replace(request.tokens, steps=request.update_steps)


def _words(request: InterpolationRequest, video: Video, backbone: TextBackbone, grid: tuple[int, int]) -> Indicator:
    """Return the targets that words of the prompt name; a video without annotations has them as its targets."""
    assert backbone.text is not None
    prompt = backbone.conditioning["prompt"]
    try:
        run = task_of(video, request.target, {"query_mode": request.query_mode}).start(video)
        names = tuple(describe_targets(run, grid)["targets"])
    except (ConfigError, LabelError):  # nothing is annotated
        names = request.words
    if len(names) != len(request.words):
        raise ConfigError(
            f"{video.name} has {len(names)} targets ({', '.join(names)}): give a word of the prompt for each, in order"
        )
    positions = tuple(tuple(backbone.text.positions(prompt, word)) for word in request.words)
    return Indicator(
        targets=names, tokens=positions, identity={"indicator": "words", "words": [list(item) for item in positions]}
    )


@dataclass(frozen=True, kw_only=True)
class InterpolationEstimate:
    """Estimated cost of one video's unit.

    Attributes
    ----------
    video
        Name of the video.
    state
        State of the unit; ``"unknown"`` if tokens have to be learned first.
    frames
        Frames to compute.
    bytes
        Size of the whole unit, at most.
    seconds
        Time of the frames to compute, with the learning of tokens.
    memory
        Peak memory in bytes: of the process, or of the GPU's allocator.
    """

    video: str
    state: str
    frames: int
    bytes: int
    seconds: float
    memory: int


def estimate(request: InterpolationRequest, device: torch.device) -> Iterator[InterpolationEstimate]:
    """Estimate the cost of `interpolate` from one step of fine-tuning and one of the roll-out of the first video.

    Nothing is written. The cost of other videos is proportional to their frame size.
    """
    cache, settings = open_cache(request.cache, create=True), request.settings
    meter = MemoryMeter(device)
    backbone = load(request.model, device)
    sample: tuple[float, float, int, int] | None = None
    for share in request.shares:
        video = share.video
        plan = plan_share(request, video, backbone, find_indicator(request, video, cache, backbone, learn=False))
        learning = bool(plan.spec.request["cross"]) and not plan.indicator.identity
        pixels = math.prod(plan.frame_size)
        if sample is None:
            tuning, reading = measure_passes(backbone, video.frames, plan)
            memory = meter.peak + (0 if device.type == "cuda" else meter.before)
            sample = tuning, reading, memory, pixels
        scale = pixels / sample[3]
        state = "unknown" if learning else cache.state(plan.spec)
        frames = plan.spec.frame_count
        if state == "complete":
            frames = 0
        elif state == "incomplete":
            entries = cache.artifacts(plan.spec.kind, video.dataset, video.name)
            frames = next(len(entry.missing) for entry in entries if entry.spec.digest() == plan.spec.digest())
        passes = frames * (settings.pair_steps * sample[0] + settings.roll_steps * sample[1])
        learned = request.tokens.steps + frames * request.update_steps if learning else 0
        tokens = learned * request.tokens.draws * sample[0]
        yield InterpolationEstimate(
            video=video.name,
            state=state,
            frames=frames,
            bytes=4 * sum(math.prod(shape) for shape in plan.spec.shapes.values()),
            seconds=scale * (passes + tokens),
            memory=sample[2],
        )
