"""Extracting one video: frames in, clips through the UNet, features to the cache."""

import datetime
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from ..store import Cache, UnitSpec, UnitWriter
from ..store.errors import CorruptUnitError
from ..store.integrity import demote
from .backbones.base import Backbone
from .clips import Clip
from .features import ClipLoader, clip_features
from .frames import FrameSource
from .plan import VideoPlan, group_taps, use_reproducible_kernels

__all__ = ["ExtractionReport", "extract_video"]


@dataclass(frozen=True, kw_only=True)
class ExtractionReport:
    """What an extraction of one video did.

    Attributes
    ----------
    written, skipped
        Units that were written or finished, and units that were complete before.
    frames_computed
        Frames whose features were computed and kept.
    seconds
        Wall time.
    """

    written: tuple[UnitSpec, ...]
    skipped: tuple[UnitSpec, ...]
    frames_computed: int
    seconds: float


def extract_video(
    cache: Cache,
    backbone: Backbone,
    source: FrameSource,
    plan: VideoPlan,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> ExtractionReport:
    """Write all units of a plan, resuming what an interrupted run left.

    Complete units are left alone; of units that look damaged (a promised file is absent or of another size) only what
    is damaged is computed again. Each batch is on the disk before the next begins.

    Parameters
    ----------
    cache
        Where to.
    backbone, source, plan
        What to compute, from `plan_video` with the same backbone and source.
    overwrite
        Compute complete units again, too.
    progress
        Called with the number of frames that each batch settled.
    """
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock = time.monotonic()
    use_reproducible_kernels()
    todo = [key for key, spec in plan.specs.items() if overwrite or cache.state(spec) != "complete"]
    skipped = tuple(spec for key, spec in plan.specs.items() if key not in todo)
    computed = 0
    with ExitStack() as stack:
        writers = {key: stack.enter_context(_open_writer(cache, plan.specs[key], overwrite)) for key in todo}
        done = {key: writer.done for key, writer in writers.items()}
        request = next(iter(plan.specs.values())).request
        loader = ClipLoader(backbone, source, plan.frame_size, video=request.video, seed=request.seed)
        for batch in plan.batches:
            frames = {frame for clip in batch for frame in clip.kept_frames}
            behind = {key: writer for key, writer in writers.items() if not frames <= done[key]}
            if behind:
                _write_batch(backbone, loader, batch, plan.batch_size, behind)
                computed += len(frames)
            progress(len(frames))
        run = _run_record(backbone, plan, started, time.monotonic() - clock)
        for writer in writers.values():
            writer.finish(run)
    return ExtractionReport(
        written=tuple(plan.specs[key] for key in todo),
        skipped=skipped,
        frames_computed=computed,
        seconds=time.monotonic() - clock,
    )


def _open_writer(cache: Cache, spec: UnitSpec, overwrite: bool) -> UnitWriter:
    """Return a unit's writer; of a damaged unit, what is whole stays."""
    if not overwrite and cache.state(spec) == "damaged":
        try:
            demote(spec.folder(cache.root))
        except CorruptUnitError:  # the marker itself: nothing says what is whole
            overwrite = True
    return cache.writer(spec, overwrite=overwrite)


def _write_batch(
    backbone: Backbone,
    loader: ClipLoader,
    batch: Sequence[Clip],
    batch_size: int,
    writers: Mapping[tuple[int, str], UnitWriter],
) -> None:
    """Compute one batch of clips for the units that lack it, and put it on the disk."""
    request = next(iter(writers.values())).spec.request
    loaded = [loader.load(clip) for clip in batch]
    missing = batch_size - len(batch)  # the last batch is padded, for the last bits depend on the batch's shape
    results = clip_features(
        backbone,
        loaded + loaded[-1:] * missing,
        [clip.start for clip in batch] + [batch[-1].start] * missing,
        group_taps(writers),
        video=request.video,
        ensemble=request.ensemble,
        seed=request.seed,
    )
    for key, features in results.items():
        # Half precision before the transfer: half the bytes. A value too large for it becomes infinite, which the
        # writer refuses.
        host = features.to(torch.float16).permute(0, 1, 3, 4, 2).cpu().numpy()  # (clip, frame, y, x, channel)
        for position, clip in enumerate(batch):
            for frame, kept in zip(clip.kept_frames, clip.keep, strict=True):
                writers[key].write(frame, host[position, kept])
        writers[key].commit()


def _run_record(backbone: Backbone, plan: VideoPlan, started: str, seconds: float) -> dict[str, Any]:
    """Describe the run that finished a unit: what may differ between equal requests."""
    device = backbone.device
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ted-tracking", "torch", "diffusers", "zarr", "numpy")},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "batch_size": plan.batch_size,
        "started": started,
        "seconds": round(seconds, 3),
    }
