"""Running stage 2 over videos: cached features and a first mask in, a folder of palette PNGs out."""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from ..propagate.engine import propagate
from ..propagate.settings import PropagationSettings
from ..propagate.sources import Sources
from ..propagate.targets.masks import decode_mask, encode_mask
from ..store import Cache, FeatureChoice, Unit
from ..store.durable import explain_os_errors
from ..store.errors import ConfigError, FrameError
from ..store.layout import safe_name
from .datasets.masks_io import read_mask
from .datasets.video import Video
from .show.movie import write_movie
from .show.overlay import overlay_mask
from .show.palette import write_mask
from .show.sheet import contact_sheet, evenly_spaced, write_picture

__all__ = ["PropagationReport", "propagate_video", "result_folder", "write_overlay"]

_RECORD = "ted.json"


@dataclass(frozen=True, kw_only=True)
class PropagationReport:
    """What propagation did for one video.

    Attributes
    ----------
    video
        Its name.
    folder
        Where the masks are, one palette PNG a frame.
    frames
        Number of masks.
    skipped
        Whether they were there before, made with the same settings from the same features.
    seconds
        Wall time.
    """

    video: str
    folder: Path
    frames: int
    skipped: bool
    seconds: float


def result_folder(out: Path, video: str) -> Path:
    """Return the folder of a video's masks among the results."""
    return out / safe_name(video)


def propagate_video(
    cache: Cache,
    video: Video,
    parts: Sequence[tuple[FeatureChoice, float]],
    settings: PropagationSettings,
    out: Path,
    *,
    device: torch.device,
    save_soft: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> PropagationReport:
    """Propagate a video's first mask and write the result.

    The folder of the result appears when all of it is written. It holds a palette PNG for each frame, ``ted.json``
    (what it was made of), and with `save_soft` the soft labels as a Zarr array ``soft.zarr``.

    Parameters
    ----------
    cache
        Where the features are.
    video
        The video, with the mask of its first frame.
    parts
        Features and their weights; features of weight 0 need not exist.
    settings
        Parameters; the weights in `parts` count, not `settings.alpha`.
    out
        Folder of results, one folder a video in it.
    device
        Where to compute.
    save_soft
        Keep the soft labels: (frame, channel, y, x), float32, on the feature grid.
    overwrite
        Replace a result of other settings.
    progress
        Called with the number of frames just done.

    Raises
    ------
    ConfigError
        When a result of other settings, or something else, is in the way, or the features are of other frames.
    LabelError
        For a mask that cannot be used.
    FrameError
        For frames that cannot be read, or whose content is not that of the features' frames.
    CacheError
        For features that are absent, incomplete or damaged.
    """
    clock = time.monotonic()
    folder = result_folder(out, video.name)
    mask = video.read_first_mask()
    units = [(cache.find(video.dataset, video.name, choice), weight) for choice, weight in parts if weight > 0]
    for unit, _ in units:
        _check_frames(unit, video)
    record = _describe(units, settings, mask, save_soft)
    if not overwrite and _read_record(folder) == record:
        progress(len(video.frames))
        return PropagationReport(video=video.name, folder=folder, frames=len(video.frames), skipped=True, seconds=0.0)
    if folder.exists() and not (folder / _RECORD).is_file():
        raise ConfigError(f"{folder} is in the way, and no result of `ted propagate`: give another --out, or move it")
    if folder.exists() and not overwrite:
        raise ConfigError(
            f"{folder} holds a result of other settings or features; give another --out, or --overwrite to replace it"
        )
    sources = Sources(units)
    first = encode_mask(mask, sources.grid)
    with explain_os_errors(f"write {folder}"), _appearing(folder) as target:
        soft = _soft_array(target / "soft.zarr", sources, first.object_ids) if save_soft else None
        for frame, label in propagate(units, first.label, settings, device=device):
            if soft is not None:
                soft[frame] = label.cpu().numpy()
            ids = mask if frame == 0 else decode_mask(
                label, first.object_ids, frame_size=sources.frame_size, size=video.frames.size
            )  # fmt: skip
            write_mask(target / f"{video.frames.names[frame]}.png", ids)
            progress(1)
        (target / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
    return PropagationReport(
        video=video.name,
        folder=folder,
        frames=len(video.frames),
        skipped=False,
        seconds=time.monotonic() - clock,
    )


def write_overlay(video: Video, masks: Path, out: Path, *, title: str, fps: float = 12.0) -> tuple[Path, Path]:
    """Draw masks over their frames.

    Parameters
    ----------
    video
        The frames.
    masks
        Folder of the video's masks.
    out
        Folder to write to.
    title
        Written above the contact sheet.
    fps
        Frames per second of the movie.

    Returns
    -------
    (Path, Path)
        A contact sheet of nine frames (PNG) and a movie of all (MP4).
    """
    names = video.frames.names

    def drawn(index: int) -> NDArray[np.uint8]:
        return overlay_mask(video.frames.read(index), read_mask(masks / f"{names[index]}.png"))

    base = out / safe_name(video.name)
    objects = [int(i) for i in np.unique(read_mask(masks / f"{names[0]}.png")) if i]
    with explain_os_errors(f"write {out}"):
        movie = write_movie(base.with_name(f"{base.name}.mp4"), map(drawn, range(len(names))), fps=fps)
        shown = evenly_spaced(len(names), 9)
        sheet = contact_sheet(
            [(names[index], drawn(index)) for index in shown],
            title=title,
            legend={i: f"object {i}" for i in objects},
        )
        return write_picture(base.with_name(f"{base.name}.png"), sheet), movie


def _check_frames(unit: Unit, video: Video) -> None:
    names, wanted = unit.spec.frame_names, video.frames.names
    if names != wanted:
        raise ConfigError(
            f"the features {unit.spec.label} are of {len(names)} frames ({names[0]} to {names[-1]}), the source has "
            f"{len(wanted)} ({wanted[0]} to {wanted[-1]}): give the same --every and --limit as in extraction (and "
            "there the --mask, if it lies among the frames), or extract these frames"
        )
    if unit.spec.source_size != video.frames.size:
        raise ConfigError(
            f"the features {unit.spec.label} are of frames of {unit.spec.source_size}, the source has "
            f"{video.frames.size} (height, width): the frames have changed; extract them again"
        )
    if unit.spec.request.frames != video.frames.digest():
        raise FrameError(
            f"the features {unit.spec.label} are of frames of the same names with another content: the frames have "
            "changed since extraction, or are those of another video; extract them, or name their --dataset"
        )


def _describe(
    units: Sequence[tuple[Unit, float]], settings: PropagationSettings, mask: NDArray[np.uint8], soft: bool
) -> dict[str, Any]:
    """Describe all that the result depends on."""
    return {
        "features": [
            {"unit": unit.spec.label, "content_hash": unit.content_hash, "weight": weight} for unit, weight in units
        ],
        "settings": {key: value for key, value in asdict(settings).items() if key != "alpha"},
        "first_mask": hashlib.sha256(mask.tobytes()).hexdigest(),
        "soft": soft,
    }


def _read_record(folder: Path) -> Any:
    try:
        return json.loads((folder / _RECORD).read_bytes())
    except (OSError, ValueError):
        return None


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Give a hidden folder that takes the final name when the block succeeds, and is removed when it fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    hidden.mkdir()
    try:
        yield hidden
        old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.old")
        if folder.exists():
            folder.rename(old)
        hidden.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _soft_array(path: Path, sources: Sources, object_ids: Sequence[int]) -> Any:
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
