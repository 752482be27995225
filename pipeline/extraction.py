"""Running stage 1 over videos and backbones: one backbone in memory at a time, a failing video stops no other."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..extract.backbones import BACKBONES, backbone_info, load_backbone
from ..extract.backbones.base import Backbone
from ..extract.features import ClipLoader, clip_features
from ..extract.memory import keep_freed_memory
from ..extract.plan import VideoPlan, group_taps, plan_video
from ..extract.settings import DTYPES, ExtractionSettings
from ..extract.weights import split_random
from ..extract.worker import ExtractionReport, extract_video
from ..store import Cache
from ..store.errors import ConfigError, TedError
from .choices import BackboneJob
from .datasets.video import Video

__all__ = ["Estimate", "Failure", "dry_run", "extract", "parse_weights"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A video that could not be processed, and why."""

    video: str
    backbone: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one unit would take.

    Attributes
    ----------
    label
        Name of the unit.
    state
        What the cache has of it.
    frames
        Number of frames.
    bytes
        Size on disk once complete.
    seconds
        Its share of the time of the passes that are still to be run for its video, by one measured batch; 0 when it is
        complete.
    """

    label: str
    state: str
    frames: int
    bytes: int
    seconds: float


def parse_weights(values: Sequence[str], jobs: Sequence[BackboneJob]) -> dict[str, str]:
    """Read ``[BACKBONE=]PATH`` options; without a name, the path is for the run's only backbone.

    In the place of a path may stand ``random:SEED`` or ``random:SEED:PATH`` (see `load_backbone`). Weights of backbones
    that the run does not use are ignored: one configuration can name all that a person has.

    Raises
    ------
    ConfigError
        For an unknown backbone, no name where the run uses several, or random weights without a seed.
    """
    names = list(dict.fromkeys(job.backbone for job in jobs))
    for name in names:
        backbone_info(name)
    weights: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if equals and path and name in BACKBONES:
            split_random(path)
            weights[name] = path
        elif len(names) == 1 and (split_random(value)[0] is not None or not (equals and "/" not in name)):
            weights[names[0]] = value
        else:
            raise ConfigError(
                f"--weights {value!r}: give BACKBONE=PATH with one of the backbones {', '.join(BACKBONES)}"
            )
    return weights


def extract(
    cache: Cache,
    videos: Sequence[Video],
    jobs: Sequence[BackboneJob],
    weights: Mapping[str, str],
    settings: ExtractionSettings,
    *,
    device: torch.device,
    dtype: str,
    overwrite: bool = False,
    progress: Callable[[str, int], Callable[[int], None]],
) -> Iterator[ExtractionReport | Failure]:
    """Extract every job of every video.

    Parameters
    ----------
    cache
        Where to.
    videos
        Which videos.
    jobs
        Which features.
    weights
        Path or hub name of a backbone's weights; the published ones from the hub cache where absent.
    settings
        How.
    device, dtype
        Where, and in which precision.
    overwrite
        Compute complete units again, too.
    progress
        Called with a title and a number of frames, returns what is called with frames settled.

    Yields
    ------
    ExtractionReport or Failure
        One for each video and job, as they are done.
    """
    for name, own_jobs in _by_backbone(jobs).items():
        backbone = _load(name, weights, device, dtype)
        for job, video in itertools.product(own_jobs, videos):
            try:
                plan = _plan(backbone, job, video, settings)
                advance = progress(f"{video.name} {name}", len(video.frames))
                yield extract_video(cache, backbone, video.frames, plan, overwrite=overwrite, progress=advance)
            except ConfigError:
                raise  # a wrong option is wrong for every video
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                advice = "out of GPU memory: try a smaller --batch-size or --frame-size, or --dtype float16"
                yield Failure(video=video.name, backbone=name, reason=advice)
            except TedError as error:
                yield Failure(video=video.name, backbone=name, reason=str(error))
        del backbone  # before the next one takes memory


def dry_run(
    cache: Cache,
    videos: Sequence[Video],
    jobs: Sequence[BackboneJob],
    weights: Mapping[str, str],
    settings: ExtractionSettings,
    *,
    device: torch.device,
    dtype: str,
) -> Iterator[Estimate]:
    """Say what `extract` would do: one batch of each job's first video is run to learn size and time."""
    for name, own_jobs in _by_backbone(jobs).items():
        backbone = _load(name, weights, device, dtype)
        for job in own_jobs:
            plans = [_plan(backbone, job, video, settings) for video in videos]
            seconds, values = _measure(backbone, videos[0], plans[0])
            for plan in plans:
                scale = math.prod(plan.frame_size) / math.prod(plans[0].frame_size)
                states = {key: cache.state(spec) for key, spec in plan.specs.items()}
                pending = sum(state != "complete" for state in states.values())
                for key, spec in plan.specs.items():
                    frames = len(spec.frame_names)
                    yield Estimate(
                        label=spec.label,
                        state=states[key],
                        frames=frames,
                        bytes=round(frames * values[key] * scale) * 2,
                        seconds=0.0 if states[key] == "complete" else seconds * scale * len(plan.batches) / pending,
                    )
        del backbone


def _by_backbone(jobs: Sequence[BackboneJob]) -> dict[str, list[BackboneJob]]:
    """Group jobs, so that each backbone is loaded once."""
    groups: dict[str, list[BackboneJob]] = {}
    for job in jobs:
        groups.setdefault(job.backbone, []).append(job)
    return groups


def _load(name: str, weights: Mapping[str, str], device: torch.device, dtype: str) -> Backbone:
    if device.type == "cpu":
        keep_freed_memory()
    return load_backbone(name, weights.get(name), device=device, dtype=DTYPES[dtype])


def _plan(backbone: Backbone, job: BackboneJob, video: Video, settings: ExtractionSettings) -> VideoPlan:
    return plan_video(
        backbone,
        video.frames,
        dataset=video.dataset,
        video=video.name,
        timesteps=job.timesteps,
        taps=job.taps,
        settings=settings,
    )


def _measure(backbone: Backbone, video: Video, plan: VideoPlan) -> tuple[float, dict[tuple[int, str], int]]:
    """Run one batch; return its seconds and the values per frame of each unit."""
    started = time.monotonic()
    request = next(iter(plan.specs.values())).request
    loader = ClipLoader(backbone, video.frames, plan.frame_size, video=video.name, seed=request.seed)
    batch = plan.batches[0]
    results = clip_features(
        backbone,
        [loader.load(clip) for clip in batch],
        [clip.start for clip in batch],
        group_taps(plan.specs),
        video=video.name,
        ensemble=request.ensemble,
        seed=request.seed,
    )
    cells = {key: features[0, 0].numel() for key, features in results.items()}
    return time.monotonic() - started, cells
