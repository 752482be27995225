"""Running stage 2 over videos: cached features and given masks in, a folder of palette PNGs out."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from ....propagate import (
    AffinityUse,
    FeatureReader,
    PropagationSettings,
    Workers,
    annotation_labels,
    choose_affinities,
    label_frames,
)
from ....propagate.targets.mask_target import MaskTarget
from ....store import Cache, FeatureChoice, Unit
from ....store.durable import explain_os_errors
from ....store.layout import safe_name
from ...datasets.video import Video
from ...tasks.masks.png import write_mask
from ..result_folders import atomic_folder, has_same_result

__all__ = [
    "PropagationReport",
    "describe",
    "find_units",
    "propagate_video",
    "result_folder",
    "warn_of_other_settings",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PropagationReport:
    """What propagation did for one video.

    Attributes
    ----------
    video
        Its name.
    folder
        Where the masks are, a palette PNG for each frame that is written (`Video.written_frames`).
    frames
        Number of frames.
    skipped
        Whether they were there before, made with the same settings from the same features.
    seconds
        Wall time.
    affinities
        Where they came from, as `Reading.source` says; empty for a result that was there before.
    unproven
        Share of pixels whose affinities may not be exact; 0 unless approximate ones were accepted.
    """

    video: str
    folder: Path
    frames: int
    skipped: bool
    seconds: float
    affinities: str = ""
    unproven: float = 0.0


def result_folder(out: Path, video: Video) -> Path:
    """Return the folder of a video's masks among the results."""
    return out / video.result_parent / safe_name(video.name)


def propagate_video(
    cache: Cache,
    video: Video,
    parts: Sequence[tuple[FeatureChoice, float]],
    settings: PropagationSettings,
    out: Path,
    *,
    device: torch.device,
    prefer: Sequence[tuple[str, str]] = (),
    save_soft: bool = False,
    overwrite: bool = False,
    affinities: AffinityUse = "auto",
    workers: Workers | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> PropagationReport:
    """Propagate a video's given masks and write the result.

    The folder of the result appears when all of it is written. It holds a palette PNG for each frame (or those that
    the dataset's layout wants), ``ted.json`` (what it was made of), and with `save_soft` the soft labels as a Zarr
    array ``soft.zarr``.

    Parameters
    ----------
    cache
        Where the features are.
    video
        The video, with masks of some frames.
    parts
        Features and their weights; features of weight 0 need not exist.
    settings
        Parameters.
    out
        Folder of results, one folder a video in it.
    device
        Where to compute.
    prefer
        Which features are meant where several units fit, as in `Cache.find`.
    save_soft
        Keep the soft labels: (frame, channel, y, x), float32, on the feature grid.
    overwrite
        Replace a result of other settings.
    affinities
        What to do with affinities that are kept in the cache.
    workers
        Who computes affinities; this process by default.
    progress
        Called with the number of frames just done.

    Raises
    ------
    ConfigError
        When a result of other settings, or something else, is in the way.
    LabelError
        For a mask that cannot be used.
    FrameError
        For frames that cannot be read.
    CacheError
        For features that are absent, of other frames, incomplete or damaged.
    """
    clock = time.monotonic()
    folder = result_folder(out, video)
    target = MaskTarget(masks=video.read_given_masks())
    annotated = tuple(target.masks)
    units = find_units(cache, video, parts, prefer)
    record = describe(units, settings) | _given(target.masks) | {"soft": save_soft}
    reading = None
    if affinities == "approximate":
        reading = choose_affinities(
            cache, units, settings, annotated=annotated, use=affinities, device=device, workers=workers
        )
        if reading.unproven:
            record["unproven_pixels"] = reading.unproven
    names, written = video.frames.names, set(video.written_frames())
    expected = [f"{name}.png" for name in names if name in written]
    if has_same_result(folder, record, overwrite=overwrite, expected=expected):
        progress(len(video.frames))
        return PropagationReport(video=video.name, folder=folder, frames=len(video.frames), skipped=True, seconds=0.0)
    sources = FeatureReader(units)
    given = target.encode(sources.grid)
    if reading is None:
        reading = choose_affinities(
            cache,
            units,
            settings,
            annotated=annotated,
            use=affinities,
            device=device,
            workers=workers,
            progress=progress,
        )
    with explain_os_errors(f"write {folder}"), atomic_folder(folder, record) as hidden:
        soft = _soft_array(hidden / "soft.zarr", sources, target.object_ids) if save_soft else None
        labels = annotation_labels(given, reading.device)
        first = (annotated[0], labels[annotated[0]].label)
        for frame, label in chain([first], label_frames(reading.frames(), labels, settings)):
            if soft is not None:
                soft[frame] = label.cpu().numpy()
            if names[frame] in written:
                write_mask(hidden / f"{names[frame]}.png", target.decode(frame, label, sources.frame_size))
            if reading.source != "features, kept":  # whose long part is over
                progress(1)
    return PropagationReport(
        video=video.name,
        folder=folder,
        frames=len(video.frames),
        skipped=False,
        seconds=time.monotonic() - clock,
        affinities=reading.source,
        unproven=reading.unproven,
    )


def warn_of_other_settings(unit: Unit, prefer: Sequence[tuple[str, str]]) -> None:
    """Say so where the only features there are were not made as the user, or the preset, prefers."""
    for field, value in prefer:
        actual, request = unit.spec.field_text(field), unit.request
        moot = {"clip_overlap": request.clip_length == 1, "ensemble": request.noise == "none"}.get(field, False)
        if actual != value and not moot:
            _log.warning("%s: made with %s %s, not %s", unit.spec.label, field, actual, value)


def find_units(
    cache: Cache, video: Video, parts: Sequence[tuple[FeatureChoice, float]], prefer: Sequence[tuple[str, str]]
) -> list[tuple[Unit, float]]:
    """Find the features of a video that have a weight, and warn of those that were made otherwise than preferred.

    Raises
    ------
    FrameError
        For frames that cannot be read.
    CacheError
        For features that are absent, of other frames, incomplete or damaged.
    """
    frames = video.frames.digest()
    units = [
        (cache.find(video.dataset, video.name, choice, frames=frames, prefer=prefer), weight)
        for choice, weight in parts
        if weight > 0
    ]
    for unit, _ in units:
        warn_of_other_settings(unit, prefer)
    return units


def describe(units: Sequence[tuple[Unit, float]], settings: PropagationSettings) -> dict[str, Any]:
    """Describe the features and settings that a result depends on; JSON-compatible.

    Each feature's noise level is among it where its unit records one: it changes with the content hash at most.
    """
    return {
        "features": [
            {"unit": unit.spec.label, "content_hash": unit.content_hash, "weight": weight}
            | ({} if unit.spec.alpha_bar is None else {"alpha_bar": unit.spec.alpha_bar})
            for unit, weight in units
        ],
        "settings": settings.to_json(),
    }


def _given(masks: Mapping[int, NDArray[np.uint8]]) -> dict[str, Any]:
    digests = {str(frame): hashlib.sha256(mask.tobytes()).hexdigest() for frame, mask in masks.items()}
    return {"first_mask": digests["0"]} if list(digests) == ["0"] else {"given_masks": digests}


def _soft_array(path: Path, sources: FeatureReader, object_ids: Sequence[int]) -> Any:
    shape = (len(object_ids) + 1, *sources.grid)
    return zarr.create_array(
        store=str(path),
        shape=(sources.frame_count, *shape),
        chunks=(1, *shape),
        dtype="float32",
        dimension_names=("frame", "channel", "y", "x"),
        attributes={"object_ids": list(object_ids), "frame_size": list(sources.frame_size)},
        zarr_format=3,
    )
