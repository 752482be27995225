"""Estimates of an extraction: its units, their bytes, time and memory, from a measured sample."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ....extract.backbones import check_weights
from ....extract.backbones.base import Backbone
from ....extract.batching import BatchSizes
from ....extract.clip_reader import ClipReader
from ....extract.features import ClipEncoder, latent_shape, run_pass
from ....extract.plan import VideoPlan
from ....extract.runtime import MemoryMeter
from ....extract.worker import clips_ahead
from ....store import open_cache
from .conversion import goal_specs
from .request import ExtractionRequest, Share
from .running import by_backbone, load, plan_share


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated cost of one unit."""

    label: str  # name of the unit
    state: str  # its state in the cache
    frames: int  # number of frames
    bytes: int  # size on disk once complete; an upper bound for compressed codecs
    #: The unit's share of its video's remaining passes, estimated from one measured pass; 0 when it is complete.
    seconds: float
    #: Peak memory in bytes while the unit's backbone runs: of the process, or of the GPU's allocator; measured at the
    #: size of the first video's frames.
    memory: int


def estimate(request: ExtractionRequest, device: torch.device) -> Iterator[Estimate]:
    """Estimate the cost of `extract` from one pass for each backbone and choice of features.

    Nothing is written. The pass uses the first video; the cost of others is proportional to their frame size.
    """
    cache = open_cache(request.cache, create=True)
    groups = by_backbone(request.shares)
    check_weights({name: request.weights.get(name) for name in groups})
    for name, shares in groups.items():
        meter = MemoryMeter(device)
        backbone = load(request.model(name), device)
        sizes = BatchSizes(backbone)
        samples: dict[tuple[tuple[int, ...], tuple[str, ...]], _Sample] = {}
        for share in shares:
            plan = plan_share(request, share, backbone, cache)
            if request.adapt:
                plan = sizes.fit(plan)
            choice = share.job.timesteps, share.job.taps
            if choice not in samples:
                samples[choice] = _measure(backbone, share, plan, meter)
            sample = samples[choice]
            scale = math.prod(plan.request.frame_size) / sample.pixels
            goals = goal_specs(request.codec, plan)
            states = [cache.state(goal) for goal in goals]
            pending = sum(state != "complete" for state in states)
            for (_, tap), goal, state in zip(plan.specs, goals, states, strict=True):
                cells = round(math.prod(sample.shapes[tap][1:]) * scale)
                yield Estimate(
                    label=goal.label,
                    state=state,
                    frames=goal.frame_count,
                    bytes=math.ceil(goal.frame_count * cells * goal.codec.bytes_per_cell(sample.shapes[tap][0])),
                    memory=sample.memory,
                    seconds=0.0 if state == "complete" else sample.seconds(plan) * scale / pending,
                )
        del backbone


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Times of one clip and one pass, peak memory, and the shape (channel, y, x) of a frame's features by tap."""

    pixels: int
    clip_seconds: float
    pass_seconds: float
    memory: int
    shapes: dict[str, tuple[int, ...]]

    def seconds(self, plan: VideoPlan) -> float:
        """Return the time of a whole video of the same frame size."""
        return self.clip_seconds * len(plan.clips) + self.pass_seconds * len(plan.passes)


def _measure(backbone: Backbone, share: Share, plan: VideoPlan, meter: MemoryMeter) -> _Sample:
    items = plan.passes.items(0)
    reader = ClipReader(backbone, share.video.frames, plan, latent_shape(backbone, plan.request.frame_size))
    encoder = ClipEncoder(backbone, plan)
    wanted = sorted({item.clip for item in items})
    clock = time.monotonic()
    ahead = 0  # bytes of the clips that wait in the host's memory
    loaded = {}
    for host in reader.read(wanted):
        loaded[host.index] = encoder.encode(host)
        ahead = clips_ahead(backbone) * sum(each.nbytes for each in (host.pixels, host.noise) if each is not None)
    _synchronize(backbone)
    clip_seconds = (time.monotonic() - clock) / len(wanted)
    taps = list(dict.fromkeys(share.job.taps))
    if backbone.device.type == "cuda":
        run_pass(backbone, items, loaded, taps)  # the first pass sets up kernels and memory
        _synchronize(backbone)
    clock = time.monotonic()
    outputs = run_pass(backbone, items, loaded, taps)
    _synchronize(backbone)
    return _Sample(
        pixels=math.prod(plan.request.frame_size),
        clip_seconds=clip_seconds,
        pass_seconds=time.monotonic() - clock,
        memory=meter.peak + (0 if backbone.device.type == "cuda" else meter.before + ahead),
        shapes={tap: tuple(values.shape[2:]) for tap, values in outputs.items()},
    )


def _synchronize(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize(backbone.device)
