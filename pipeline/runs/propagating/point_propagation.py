"""Running stage 2 over videos of joints, points and boxes: cached features and what is given in, tables out."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ....propagate import (
    AffinitySource,
    AffinityUse,
    FeatureReader,
    PropagationSettings,
    Target,
    Workers,
    annotation_labels,
    choose_affinities,
    label_frames,
)
from ....store import Cache, FeatureChoice
from ....store.durable import explain_os_errors
from ...datasets.point_queries import QueryMode
from ...datasets.video import Video
from ...tasks.following import following_of
from ..result_folders import atomic_folder, has_same_result
from .propagation import PropagationReport, describe, find_units, result_folder

__all__ = ["propagate_points"]


def propagate_points(
    cache: Cache,
    video: Video,
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
    """Propagate a video's joints, points or boxes, and write the result.

    Joints are given in the first frame. The points of a dataset, each given in one frame, are followed for themselves:
    those of one frame share a pass through the video, whose only annotated frame is theirs, forward, and backward too
    if they are queried strided. So are points and boxes of a user, to both ends of the video; those that are given in
    the same frames share a pass. Where a video has masks, the boxes around their objects are followed.

    The folder of the result appears when all of it is written. It holds ``joints.npz`` and ``joints.csv``
    (`JointResult`), ``tracks.npz`` and ``tracks.csv`` (`TrackResult`), or ``boxes.npz`` and ``boxes.csv``
    (`BoxResult`), and ``ted.json``, what it was made of.

    Parameters
    ----------
    cache, parts, settings, out, device, prefer, overwrite, affinities, workers, progress
        As in `propagate_video`.
    video
        The video, with its ground truth, of which no more is used than what is given.
    query_mode
        Which points are given, and in which frames; of a dataset's points only.

    Raises
    ------
    ConfigError
        When a result of other settings, or something else, is in the way.
    LabelError
        For joints, points or boxes that cannot be used.
    FrameError
        For frames that cannot be read.
    CacheError
        For features that are absent, of other frames, incomplete or damaged.
    """
    clock = time.monotonic()
    folder = result_folder(out, video)
    following = following_of(video, query_mode)
    units = find_units(cache, video, parts, prefer)
    record = describe(units, settings) | following.record

    def read(annotated: tuple[int, ...]) -> AffinitySource:
        return choose_affinities(
            cache, units, settings, annotated=annotated, use=affinities, device=device, workers=workers
        )

    unproven = 0.0
    if affinities == "approximate":
        unproven = max(read(annotated).unproven for annotated, _ in following.targets)
        if unproven:
            record["unproven_pixels"] = unproven
    frames = len(video.frames)
    if has_same_result(folder, record, overwrite=overwrite):
        progress(frames)
        return PropagationReport(video=video.name, folder=folder, frames=frames, skipped=True, seconds=0.0)
    sources = FeatureReader(units)
    came_from: dict[str, None] = {}
    with explain_os_errors(f"write {folder}"), atomic_folder(folder, record) as hidden:
        for number, (given, target) in enumerate(following.targets):
            reading = read(given)
            came_from[reading.source] = None
            for frame, label in _labels(target, given, reading, sources.grid, settings):
                if frame < given[0] and not following.backward:
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
    target: Target[Any],
    given: tuple[int, ...],
    reading: AffinitySource,
    grid: tuple[int, int],
    settings: PropagationSettings,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each frame and the target's soft label in it: of its first, of those after it, of those before it."""
    labels = annotation_labels(target.encode(grid), reading.device)
    return chain([(given[0], labels[given[0]].label)], label_frames(reading.frames(), labels, settings))
