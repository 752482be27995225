"""Running stage 2 over videos of joints and points: cached features and a ground truth in, tables of places out."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..propagate.cluster import Workers
from ..propagate.engine import label_frames
from ..propagate.settings import PropagationSettings
from ..propagate.sources import Sources
from ..propagate.targets.base import Target, given_labels
from ..store import Cache, FeatureChoice
from ..store.durable import explain_os_errors
from .datasets.jhmdb import JointVideo
from .datasets.point_queries import QueryMode
from .datasets.tapvid import TrackVideo
from .point_following import Following, Joints, Points
from .propagation import PropagationReport, describe, find_units, result_folder
from .readings import AffinityUse, Reading, read_affinities
from .result_folders import appearing_with, is_there_before

__all__ = ["propagate_points"]


def propagate_points(
    cache: Cache,
    video: JointVideo | TrackVideo,
    parts: Sequence[tuple[FeatureChoice, float]],
    settings: PropagationSettings,
    out: Path,
    *,
    device: torch.device,
    query_mode: QueryMode = "first",
    prefer: Sequence[tuple[str, str]] = (),
    overwrite: bool = False,
    affinities: AffinityUse = "auto",
    workers: Workers | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> PropagationReport:
    """Propagate a video's joints, given in its first frame, or its points, each given in one frame; write the result.

    Points are followed for themselves: those of one frame share a pass through the video, whose only annotated frame is
    theirs, forward, and backward too if they are queried strided.

    The folder of the result appears when all of it is written. It holds ``joints.npz`` and ``joints.csv``
    (`JointResult`), or ``tracks.npz`` and ``tracks.csv`` (`TrackResult`), and ``ted.json``, what it was made of.

    Parameters
    ----------
    cache, parts, settings, out, device, prefer, overwrite, affinities, workers, progress
        As in `propagate_video`.
    video
        The video, with its ground truth, of which no more is used than what is given.
    query_mode
        Which points are given, and in which frames; of no meaning for joints.

    Raises
    ------
    ConfigError
        When a result of other settings, or something else, is in the way.
    LabelError
        For joints or tracks that cannot be used.
    FrameError
        For frames that cannot be read.
    CacheError
        For features that are absent, of other frames, incomplete or damaged.
    """
    clock = time.monotonic()
    folder = result_folder(out, video)
    following: Following = Joints(video) if isinstance(video, JointVideo) else Points(video, query_mode)
    units = find_units(cache, video, parts, prefer)
    record = describe(units, settings) | following.record

    def read(frame: int) -> Reading:
        return read_affinities(
            cache, units, settings, annotated=(frame,), use=affinities, device=device, workers=workers
        )

    unproven = 0.0
    if affinities == "approximate":
        unproven = max(read(frame).unproven for frame, _ in following.targets)
        if unproven:
            record["unproven_pixels"] = unproven
    frames = len(video.frames)
    if is_there_before(folder, record, overwrite=overwrite):
        progress(frames)
        return PropagationReport(video=video.name, folder=folder, frames=frames, skipped=True, seconds=0.0)
    sources = Sources(units)
    came_from: dict[str, None] = {}
    with explain_os_errors(f"write {folder}"), appearing_with(folder, record) as hidden:
        for number, (given, target) in enumerate(following.targets):
            reading = read(given)
            came_from[reading.source] = None
            for frame, label in _labels(target, given, reading, sources.grid, settings):
                if frame < given and not following.backward:
                    break  # these come last
                following.collect(number, frame, target.decode(frame, label, sources.frame_size))
            # Each target is a share of the frames: they can be many.
            before, done = (end * frames // len(following.targets) for end in (number, number + 1))
            progress(done - before)
        following.write(hidden)
    return PropagationReport(
        video=video.name,
        folder=folder,
        frames=frames,
        skipped=False,
        seconds=time.monotonic() - clock,
        affinities=" and ".join(came_from),
        unproven=unproven,
    )


def _labels(
    target: Target[Any], given: int, reading: Reading, grid: tuple[int, int], settings: PropagationSettings
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each frame and the target's soft label in it: of its own frame, of those after it, of those before it."""
    labels = given_labels(target.encode(grid), reading.device)
    return chain([(given, labels[given].label)], label_frames(reading.frames(), labels, settings))
