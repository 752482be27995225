"""Stage 1 in one process on one device: one backbone in memory at a time."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ....extract.backbones import check_weights, load_backbone
from ....extract.backbones.base import Backbone
from ....extract.plan import VideoPlan, plan_video
from ....extract.runtime import DTYPES, keep_freed_memory
from ....extract.settings import DEFAULT_OPTIONS, BackboneOptions, ExtractionSettings
from ....extract.worker import ExtractionReport, Progress, VideoTask, extract_videos
from ....store import TOKEN, Artifact, Cache, UnitSpec, is_claimed, open_cache, tidy_unit
from ....store.errors import ClaimedError, Hint, TedError, UnitNotFoundError
from ...choices.features import merge_jobs, parse_job
from ...choices.hints import explain
from ...datasets.video import Video
from .conversion import Converter, goal_specs, plan_of_staged
from .request import ExtractionRequest, Model, Share

#: Seconds between two checks of shares that other processes have claimed.
_LOOK_S = 2.0

#: Loads a backbone onto a device.
Load = Callable[[Model, torch.device], Backbone]


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A share that is complete now."""

    share: Share
    report: ExtractionReport


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A share that could not be completed, with the reason."""

    share: Share
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Claimed:
    """A share that another process is writing."""

    share: Share
    goals: Sequence[UnitSpec]  # the units that the run makes in the end, in their codec
    error: ClaimedError  # names the other process
    batch_size: int

    def is_complete(self, cache: Cache) -> bool:
        return all(cache.state(goal) == "complete" for goal in self.goals)

    def is_written(self, cache: Cache) -> bool:
        """Tell whether a process is writing a wanted unit, or one that it is converted from."""
        specs = (spec for goal in self.goals for spec in (goal, replace(goal, form=goal.codec.staging().name)))
        return any(is_claimed(spec.folder(cache.root)) for spec in specs)

    def complete(self, cache: Cache) -> Extracted:
        """Return the result of units that other processes have written; delete what those left that died after it."""
        for goal in self.goals:
            tidy_unit(goal.folder(cache.root))
        report = ExtractionReport(written=(), skipped=tuple(self.goals), batch_size=self.batch_size)
        return Extracted(share=self.share, report=report)


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

    Any number of processes may run the same request: each takes the next share that no other has claimed. At the end
    it waits for the others' shares, and takes over shares of processes that died. After a failure, the other videos
    continue.

    `say` is called with remarks, from any thread. Yields one result for each share, as they are done.

    Raises
    ------
    ConfigError
        For an option that is wrong for every video.
    WeightsError
        When weights are missing. All missing ones are named before any are loaded.
    """
    cache = open_cache(request.cache, create=True)
    check_weights({name: request.weights.get(name) for name in by_backbone(request.shares)})
    remaining: Sequence[Share] = request.shares
    while remaining:
        claimed: list[_Claimed] = []
        for result in _extract_once(request, remaining, cache, device, progress, say, load):
            if isinstance(result, _Claimed):
                claimed.append(result)
            else:
                yield result
        if claimed:
            names = ", ".join(item.share.name for item in claimed[:3]) + (", ..." if len(claimed) > 3 else "")
            say(f"waiting for other processes to extract {names}: {claimed[0].error}")
            if len(claimed) == len(remaining):  # no progress: the shares are still claimed
                time.sleep(_LOOK_S)
        remaining = []
        while claimed and not remaining:
            complete = [item for item in claimed if item.is_complete(cache)]
            yield from (item.complete(cache) for item in complete)
            claimed = [item for item in claimed if item not in complete]
            if not all(item.is_written(cache) for item in claimed):
                # Try all: others may have become free.
                remaining = [item.share for item in claimed]
            elif claimed:
                time.sleep(_LOOK_S)


def extract_features(
    cache: Path,
    videos: Sequence[Video],
    features: Iterable[str],
    settings: ExtractionSettings,
    *,
    device: torch.device | str = "cpu",
    weights: Mapping[str, str] | None = None,
    options: BackboneOptions = DEFAULT_OPTIONS,
    progress: Progress = lambda title, frames: lambda done: None,
    say: Callable[[str], None] = lambda remark: None,
) -> list[Extracted]:
    """Extract features ``BACKBONE:TIMESTEP,...:TAP,...`` of all videos into a cache, unless it has them.

    Other parameters are those of `ExtractionRequest` and `extract`.

    Raises
    ------
    TedError
        If the extraction of a video fails.
    """
    request = ExtractionRequest(
        cache=cache,
        shares=tuple(Share(job=job, video=video) for job in merge_jobs(map(parse_job, features)) for video in videos),
        weights=weights or {},
        settings=settings,
        options=options,
    )
    done = []
    for result in extract(request, torch.device(device), progress=progress, say=say):
        if isinstance(result, Failure):
            raise TedError(f"the features {result.share.name} could not be extracted: {result.reason}")
        done.append(result)
    return done


def _extract_once(
    request: ExtractionRequest,
    shares: Sequence[Share],
    cache: Cache,
    device: torch.device,
    progress: Progress,
    say: Callable[[str], None],
    load: Load,
) -> Iterator[Extracted | Failure | _Claimed]:
    """Extract the shares that no other process has claimed, one backbone after the other."""

    def result_of(
        share: Share, plan: VideoPlan, outcome: ExtractionReport | TedError
    ) -> Extracted | Failure | _Claimed:
        if isinstance(outcome, ClaimedError):
            goals = goal_specs(request.codec, plan)
            return _Claimed(share=share, goals=goals, error=outcome, batch_size=plan.passes.size)
        if isinstance(outcome, TedError):
            return Failure(share=share, reason=explain(outcome))
        return Extracted(share=share, report=outcome)

    def task_of(share: Share, plan: Callable[[], VideoPlan]) -> VideoTask:
        return VideoTask(
            name=share.name, source=share.video.frames, plan=lambda: plan_of_staged(request, cache, plan())
        )

    with Converter(request, cache, device) as converter:
        for name, group in by_backbone(shares).items():
            backbone = load(request.model(name), device)
            planned = [(share, _planner(request, share, backbone, cache, say)) for share in group]
            tasks = {task_of(share, plan): (share, plan) for share, plan in planned}
            for task, outcome in extract_videos(
                cache, backbone, tasks, overwrite=request.overwrite, adapt=request.adapt, progress=progress
            ):
                share, plan = tasks[task]
                if isinstance(outcome, ExtractionReport):
                    yield from (result_of(*done) for done in converter.add(share, plan(), outcome))
                elif isinstance(outcome, ClaimedError):
                    yield result_of(share, plan(), outcome)
                else:  # planning itself may have failed
                    yield Failure(share=share, reason=explain(outcome))
            del backbone, planned, tasks, plan  # before the next backbone takes memory
        yield from (result_of(*done) for done in converter.rest())


def plan_share(request: ExtractionRequest, share: Share, backbone: Backbone, cache: Cache) -> VideoPlan:
    """Plan the units of a share, conditioned on the video's artifacts in the cache if the backbone needs any.

    Raises UnitNotFoundError when the cache has no complete artifact of a kind that the backbone needs, or several.
    """
    video, job = share.video, share.job
    found = {kind: find_artifact(cache, kind, video, backbone.weights_id) for kind in backbone.artifacts}
    artifacts = {kind: artifact for kind, artifact in found.items() if artifact is not None}
    return plan_video(
        backbone,
        video.frames,
        dataset=video.dataset,
        video=video.name,
        timesteps=job.timesteps,
        taps=job.taps,
        settings=request.settings,
        artifacts=artifacts,
    )


def find_artifact(cache: Cache, kind: str, video: Video, weights: str) -> Artifact | None:
    """Open the complete artifact of a kind that a video has; None without one.

    Artifacts that were made with other weights, as their requests say, do not count, nor do tokens of another frame or
    of other masks. Raises UnitNotFoundError when there are only such artifacts, or several others.
    """
    entries = cache.artifacts(kind, dataset=video.dataset, video=video.name)
    complete = [entry for entry in entries if entry.state == "complete"]
    same = [entry for entry in complete if entry.spec.request.get("weights", weights) == weights]
    found = same
    if kind == TOKEN.name and same:
        from ..learning_tokens import is_current  # loads diffusers, which most extractions do without

        found = [entry for entry in same if is_current(entry.spec.request, video)]
    if complete and not found:
        other = "from another frame or other masks" if same else "with other weights"
        raise UnitNotFoundError(f"the {kind} of {video.name} was made {other}", hint=Hint(f"learn-{kind}"))
    if len(found) > 1:
        names = ", ".join(entry.spec.label for entry in found)
        raise UnitNotFoundError(
            f"one {kind} of {video.name} is needed; there are: {names}", hint=Hint("remove-others", {"kind": kind})
        )
    return found[0].open() if found else None


def by_backbone(shares: Sequence[Share]) -> dict[str, list[Share]]:
    """Group shares by backbone, so that each backbone is loaded once."""
    groups: dict[str, list[Share]] = {}
    for share in shares:
        groups.setdefault(share.job.backbone, []).append(share)
    return groups


def _planner(
    request: ExtractionRequest, share: Share, backbone: Backbone, cache: Cache, say: Callable[[str], None]
) -> Callable[[], VideoPlan]:
    """Return a function that plans a share at its first call."""

    @functools.cache
    def plan() -> VideoPlan:
        planned = plan_share(request, share, backbone, cache)
        for change in describe_changes(cache, planned):
            say(change)
        return planned

    return plan


def describe_changes(cache: Cache, plan: VideoPlan) -> Iterator[str]:
    """Yield a sentence for each cached request of the video that differs from the plan in frames or weights alone.

    Features of other frames or weights are separate units, and never mixed. But a user who repeats a command expects
    it to be complete, and should learn why it is not.
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
                f"{name} was extracted; {request.backbone}@{request.digest()[:8]} is added beside it"
            )
