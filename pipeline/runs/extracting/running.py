"""Running stage 1 in one process, on one device: one backbone in memory at a time, a failing video stops no other."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ....extract.backbones import load_backbone
from ....extract.backbones.base import Backbone
from ....extract.plan import VideoPlan, plan_video
from ....extract.runtime import DTYPES, keep_freed_memory
from ....extract.worker import ExtractionReport, Progress, VideoTask, extract_videos
from ....store import Cache, open_cache
from ....store.errors import ClaimedError, TedError
from ...choices.hints import explain
from .conversion import Finisher
from .request import ExtractionRequest, Model, Share
from .waiting import Held, any_is_free, complete_before, describe_held, split_complete

__all__ = ["Extracted", "Failure", "Load", "by_backbone", "describe_changes", "extract", "load", "plan_share"]

#: Seconds between looks at what other processes hold.
_LOOK_S = 2.0

#: Gives a backbone on a device.
Load = Callable[[Model, torch.device], Backbone]


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A share that is complete now."""

    share: Share
    report: ExtractionReport


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A share that could not be completed, and why."""

    share: Share
    reason: str


def load(model: Model, device: torch.device) -> Backbone:
    """Load a backbone."""
    if device.type == "cpu":
        keep_freed_memory()
    return load_backbone(model.name, model.weights, device=device, dtype=DTYPES[model.dtype], options=model.options)


def extract(
    request: ExtractionRequest,
    device: torch.device,
    *,
    progress: Progress,
    say: Callable[[str], None],
    load: Load = load,
) -> Iterator[Extracted | Failure]:
    """Extract every share of a request.

    Any number of processes may be given the same request: each takes what nobody is at. What is left in the hands of
    others is waited for, and taken over should they die.

    Parameters
    ----------
    request
        What to extract.
    device
        Where.
    progress
        Called with a title and a number of frames, returns what is called with frames that are through.
    say
        Called with remarks, from any thread.
    load
        Gives the backbones.

    Yields
    ------
    Extracted or Failure
        One for each share, as they are done.

    Raises
    ------
    ConfigError
        For an option that is wrong, whatever the video.
    """
    cache = open_cache(request.cache, create=True)
    remaining: Sequence[Share] = request.shares
    while remaining:
        held: list[Held] = []
        for result in _extract_once(request, remaining, cache, device, progress, say, load):
            if isinstance(result, Held):
                held.append(result)
            else:
                yield result
        if held:
            say(describe_held(held))
            if len(held) == len(remaining):  # as before: what seemed to be free is not
                time.sleep(_LOOK_S)
        remaining = []
        while held and not remaining:
            complete, held = split_complete(cache, held)
            yield from (Extracted(share=item.share, report=complete_before(item)) for item in complete)
            if any_is_free(cache, held):
                # The rest is tried, too: it may be free by then.
                remaining = [item.share for item in held]
            elif held:
                time.sleep(_LOOK_S)


def _extract_once(
    request: ExtractionRequest,
    shares: Sequence[Share],
    cache: Cache,
    device: torch.device,
    progress: Progress,
    say: Callable[[str], None],
    load: Load,
) -> Iterator[Extracted | Failure | Held]:
    """Extract what nobody else is at, one backbone after the other."""

    def settle(share: Share, plan: VideoPlan, outcome: ExtractionReport | TedError) -> Extracted | Failure | Held:
        if isinstance(outcome, ClaimedError):
            return Held(share=share, plan=plan, goals=request.store_as.goals(plan), error=outcome)
        if isinstance(outcome, TedError):
            return Failure(share=share, reason=explain(outcome))
        return Extracted(share=share, report=outcome)

    with Finisher(request, cache, device) as finisher:
        for name, some in by_backbone(shares).items():
            backbone = load(request.model(name), device)
            planned = [(share, _planner(request, share, backbone, cache, say)) for share in some]
            tasks = {_task(request, share, plan, cache): (share, plan) for share, plan in planned}
            for task, result in extract_videos(
                cache, backbone, tasks, overwrite=request.overwrite, adapt=request.adapt, progress=progress
            ):
                share, plan = tasks[task]
                if isinstance(result, ExtractionReport):
                    yield from (settle(*finished) for finished in finisher.take(share, plan(), result))
                elif isinstance(result, ClaimedError):
                    yield settle(share, plan(), result)
                else:  # perhaps it could not even be planned
                    yield Failure(share=share, reason=explain(result))
            del backbone, planned, tasks, plan  # before the next one takes memory
        yield from (settle(*finished) for finished in finisher.rest())


def plan_share(request: ExtractionRequest, share: Share, backbone: Backbone) -> VideoPlan:
    """Plan the units of a share."""
    video, job = share.video, share.job
    return plan_video(
        backbone,
        video.frames,
        dataset=video.dataset,
        video=video.name,
        timesteps=job.timesteps,
        taps=job.taps,
        settings=request.settings,
    )


def by_backbone(shares: Sequence[Share]) -> dict[str, list[Share]]:
    """Group shares, so that each backbone is loaded once."""
    groups: dict[str, list[Share]] = {}
    for share in shares:
        groups.setdefault(share.job.backbone, []).append(share)
    return groups


def _planner(
    request: ExtractionRequest, share: Share, backbone: Backbone, cache: Cache, say: Callable[[str], None]
) -> Callable[[], VideoPlan]:
    """Return what plans a share, once, when it is first asked for."""

    @functools.cache
    def plan() -> VideoPlan:
        planned = plan_share(request, share, backbone)
        for change in describe_changes(cache, planned):
            say(change)
        return planned

    return plan


def _task(request: ExtractionRequest, share: Share, plan: Callable[[], VideoPlan], cache: Cache) -> VideoTask:
    return VideoTask(
        name=share.name,
        source=share.video.frames,
        plan=lambda: request.store_as.to_extract(cache, plan(), overwrite=request.overwrite),
    )


def describe_changes(cache: Cache, plan: VideoPlan) -> Iterator[str]:
    """Compare what is planned with what the cache has of the same video.

    Features of other frames, or of other weights, are never mixed: they are units of their own. But who runs a command
    again expects to find it done, and should learn why it is not.

    Yields
    ------
    str
        A sentence for each request in the cache that differs from the planned one in its frames or weights alone.
    """
    request = plan.request
    dataset = next(iter(plan.specs.values())).dataset
    seen: set[str] = set()
    for entry in cache.entries(dataset=dataset, video=request.video, backbone=request.backbone):
        other = entry.spec.request
        changed = request.differing_fields(other)
        name = f"{other.backbone}@{other.digest()[:8]}"
        if changed and changed <= {"frames", "weights"} and name not in seen:
            seen.add(name)
            yield (
                f"{dataset}/{request.video} {request.backbone}: the {' and '.join(sorted(changed))} have changed since "
                f"{name} was extracted; this makes {request.backbone}@{request.digest()[:8]} beside it"
            )
