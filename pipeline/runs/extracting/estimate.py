"""What an extraction would take: its units, their bytes, and the time by a measured sample."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ....extract.backbones.base import Backbone
from ....extract.clip_reader import ClipReader
from ....extract.features import ClipEncoder, latent_shape, run_pass
from ....extract.plan import VideoPlan
from ....store import open_cache
from .request import ExtractionRequest, Share
from .running import by_backbone, load, plan_share

__all__ = ["Estimate", "estimate"]


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
        Size on disk once complete; at most that, for a form that is compressed.
    seconds
        Its share of the time of the passes that are still to be run for its video, by one measured pass; 0 when it is
        complete.
    """

    label: str
    state: str
    frames: int
    bytes: int
    seconds: float


def estimate(request: ExtractionRequest, device: torch.device) -> Iterator[Estimate]:
    """Say what `extract` would do; of each backbone and choice of features one pass is run, on the first video.

    Nothing is written. Units of another frame size than the first video's are taken to cost as their pixels do.
    """
    cache = open_cache(request.cache, create=True)
    for name, shares in by_backbone(request.shares).items():
        backbone = load(request.model(name), device)
        samples: dict[tuple[tuple[int, ...], tuple[str, ...]], _Sample] = {}
        for share in shares:
            plan = plan_share(request, share, backbone)
            kind = share.job.timesteps, share.job.taps
            if kind not in samples:
                samples[kind] = _measure(backbone, share, plan)
            sample = samples[kind]
            scale = math.prod(plan.request.frame_size) / sample.pixels
            goals = request.store_as.goals(plan)
            states = [cache.state(goal) for goal in goals]
            pending = sum(state != "complete" for state in states)
            for (_, tap), goal, state in zip(plan.specs, goals, states, strict=True):
                cells = round(math.prod(sample.shapes[tap][1:]) * scale)
                yield Estimate(
                    label=goal.label,
                    state=state,
                    frames=goal.frame_count,
                    bytes=math.ceil(goal.frame_count * cells * goal.codec.bytes_per_cell(sample.shapes[tap][0])),
                    seconds=0.0 if state == "complete" else sample.seconds(plan) * scale / pending,
                )
        del backbone


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """What one clip and one pass took; and the shape (channel, y, x) of a frame's features, by tap."""

    pixels: int
    clip_seconds: float
    pass_seconds: float
    shapes: dict[str, tuple[int, ...]]

    def seconds(self, plan: VideoPlan) -> float:
        """Return what a whole video takes, at the same frame size."""
        return self.clip_seconds * len(plan.clips) + self.pass_seconds * len(plan.passes)


def _measure(backbone: Backbone, share: Share, plan: VideoPlan) -> _Sample:
    request, items = plan.request, plan.passes.items(0)
    reader = ClipReader(
        share.video.frames,
        request.frame_size,
        noise_shape=latent_shape(backbone, request.frame_size),
        video=request.video,
        seed=request.seed,
        draws=request.ensemble if backbone.takes_noise else 0,
        condition_on=backbone.condition_on,
    )
    encoder = ClipEncoder(backbone, video=request.video, seed=request.seed)
    wanted = sorted({item.clip for item in items})
    clock = time.monotonic()
    loaded = {host.index: encoder.encode(host) for host in reader.read(plan.clips, wanted)}
    _synchronize(backbone)
    clip_seconds = (time.monotonic() - clock) / len(wanted)
    taps = list(dict.fromkeys(share.job.taps))
    if backbone.device.type == "cuda":
        run_pass(backbone, items, loaded, taps)  # the first one sets things up
        _synchronize(backbone)
    clock = time.monotonic()
    outputs = run_pass(backbone, items, loaded, taps)
    _synchronize(backbone)
    return _Sample(
        pixels=math.prod(request.frame_size),
        clip_seconds=clip_seconds,
        pass_seconds=time.monotonic() - clock,
        shapes={tap: tuple(values.shape[2:]) for tap, values in outputs.items()},
    )


def _synchronize(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize(backbone.device)
