"""Track objects through one video in one call.

The call needs both stages: extraction of the features that the cache lacks, and propagation. `ted.extract` and
`ted.propagate` do not import each other, so it belongs to `ted.pipeline`.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..extract.backbones import backbone_info
from ..extract.frames import FrameSize
from ..extract.noising.keyed_noise import NOISE_SCHEME
from ..extract.settings import ExtractionSettings
from ..extract.weights import split_random
from ..propagate import FeatureReader, PropagationSettings, TrackingSession, part_weights
from ..propagate.targets.object_ids import object_mask
from ..store import Cache, FeatureChoice, Unit, fits, open_cache
from ..store.durable import canonical_json
from ..store.errors import ConfigError, FrameError, IncompleteUnitError, LabelError, UnitNotFoundError
from .annotating.words import TextTargets
from .choices.features import parse_choice
from .datasets.sources import Source, open_source
from .datasets.video import Video
from .runs.devices import choose_device
from .runs.extracting.running import extract_features
from .runs.propagating.propagation import describe_result
from .runs.result_folders import atomic_folder, result_folder
from .tasks.masks.task import MaskRun, MaskTask

_log = logging.getLogger(__name__)

#: A mask file, or object numbers (y, x).
_Mask = Path | str | npt.NDArray[Any]


def track(
    video: Path | str | npt.NDArray[np.uint8],
    mask: _Mask | Mapping[int, _Mask] | None = None,
    *,
    text: str | Sequence[str] | None = None,
    by: Path | str = "sd21",
    features: str | Sequence[str] | Mapping[str, float],
    alpha: float | None = None,
    cache: Path | str = "cache",
    weights: Mapping[str, str | Path] | None = None,
    frame_size: int | tuple[int, int] | None = None,
    ensemble: int = 1,
    device: str = "auto",
    **settings: Any,
) -> "Tracks":
    """Track objects through a video: extract the features that the cache lacks, and propagate masks along them.

    >>> from ted.pipeline import track
    >>> tracks = track("walk.mp4", "walk-first-frame.png", features="rgb:0:stride8", cache="cache")  # doctest: +SKIP
    >>> tracks.masks.shape  # (frame, y, x)                                                           # doctest: +SKIP
    >>> tracks.retune(temperature=0.1).overlay("walk-tracked.mp4")                                    # doctest: +SKIP

    Parameters
    ----------
    video
        A video file, a folder of frames, or frames as an array (frame, y, x, 3), uint8, RGB.
    mask
        The objects in the first frame: a mask file, or an array (y, x) of object numbers, 0 for the background (or of
        booleans, for one object). Or such masks by the index of their frame, from 0.
    text
        Instead, the objects of the first frame in words, such as ``"the left deer"``: one text for each. Their masks
        are saved in the folder ``masks`` beside the cache, where they can be corrected; later calls use them again.
    by
        What finds the objects of a text: a backbone with text, or a folder of weights; see `TextTargets`.
    features
        Features as ``BACKBONE:TIMESTEP:TAP``: one, several of equal weight, or weights by feature. As
        ``BACKBONE@DIGEST:TIMESTEP:TAP``, those in the cache whose digest begins so.
    alpha
        Weight of the first of two features, in [0, 1]; the second weighs ``1 - alpha``.
    cache
        Folder of the feature cache; it is made if absent.
    weights
        Folder or hub name of the network's weights, by backbone. The backbones ``rgb``, ``position``, ``demo-image``
        and ``demo-video`` need none. Without an entry, the hub's local cache is searched for the published weights.
        Weights are needed only for features that the cache lacks; those in the cache may have others.
    frame_size
        Size of the frames that features are computed from: the short side, or (height, width). By default that of the
        features in the cache, or the backbone's default.
    ensemble
        Number of noise draws whose features are averaged.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    **settings
        Fields of `PropagationSettings`: ``temperature``, ``top_k``, ``radius``, ``context`` and others.

    Returns
    -------
    Tracks
        The masks of all frames, with ways to save, draw and retune them.

    Raises
    ------
    ConfigError
        For features, weights or settings that make no sense.
    FrameError
        For a video that cannot be read.
    LabelError
        For a mask that cannot be used.
    WeightsError
        For weights that are absent.
    CacheError
        For a cache that cannot be read or written.
    """
    parts = _weigh(features, alpha)
    propagation = _settings(PropagationSettings(), settings)
    where = choose_device(device)
    if (mask is None) == (text is None):
        raise ConfigError("give either a mask or a text")
    if text is None:
        annotated = _open(video, {} if mask is None else mask)
    else:
        texts = (text,) if isinstance(text, str) else tuple(text)
        folder = Path(cache).expanduser().parent / "masks"
        annotated, note = TextTargets(texts=texts, by=str(by), device=where).annotate(_open(video, None), folder)
        _log.info(note)
    side = FrameSize(short_side=frame_size) if isinstance(frame_size, int) else None
    extraction = ExtractionSettings(
        frame_size=FrameSize(exact=frame_size) if isinstance(frame_size, tuple) else side, ensemble=ensemble
    )
    opened = open_cache(Path(cache).expanduser(), create=True)
    paths = {name: str(path) for name, path in (weights or {}).items()}
    found = {choice: _find(opened, annotated, choice, extraction, paths) for choice, _ in parts}
    missing = [choice for choice, unit in found.items() if unit is None]
    made = _extract(opened, annotated, missing, extraction, paths, where) if missing else {}
    units = tuple(found[choice] or made[choice] for choice, _ in parts)
    weighted = tuple(zip(units, (weight for _, weight in parts), strict=True))
    session = TrackingSession(weighted, propagation, device=where)
    return Tracks(video=annotated, parts=weighted, settings=propagation, _session=session)


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Objects tracked through a video. Masks are computed when they are first used.

    Retuned tracks share candidates of sources in memory: most changes of settings cost label steps only.

    Attributes
    ----------
    video
        The video, with its annotated masks.
    parts
        Feature units and their weights.
    settings
        Settings of label propagation.
    """

    video: Video
    parts: tuple[tuple[Unit, float], ...]
    settings: PropagationSettings
    _session: TrackingSession = field(repr=False, compare=False)

    @cached_property
    def masks(self) -> npt.NDArray[np.uint8]:
        """Object numbers (frame, y, x), uint8, at the size of the video; 0 is the background."""
        return self._tracked[0]

    @property
    def confidence(self) -> dict[int, npt.NDArray[np.float64]]:
        """Confidence of each object, by its number: (frame,), in [0, 1]; see the guide's page on confidence."""
        run = self._tracked[1]
        values = np.array([run.confidence[frame] for frame in range(len(self.video.frames))])  # (frame, object)
        return dict(zip(run.target.object_ids, values.T, strict=True))

    @cached_property
    def _tracked(self) -> tuple[npt.NDArray[np.uint8], MaskRun]:
        """The masks, and a run that holds their confidences."""
        session = self._session
        session.settings, session.weights = self.settings, tuple(weight for _, weight in self.parts)
        run = MaskTask().start(self.video)
        target = run.target
        if not session.annotations or session.grid != next(iter(session.annotations.values())).label.shape[-2:]:
            for frame, annotation in target.encode(session.grid).items():
                session.annotate(frame, annotation)
        frame_size = FeatureReader(self._weighted).frame_size
        masks = np.zeros((len(self.video.frames), *self.video.frames.size), np.uint8)
        for frame, label in session.labels():
            masks[frame] = target.decode(frame, label, frame_size)
            run.rate(frame, label)
        return masks, run

    def retune(self, *, alpha: float | None = None, **settings: Any) -> "Tracks":
        """Return the tracks with other settings, from the same features: no network is run.

        Parameters
        ----------
        alpha
            New weight of the first of two features; the second weighs ``1 - alpha``.
        **settings
            Fields of `PropagationSettings` that change.

        Raises
        ------
        ConfigError
            For a setting out of range, or an alpha where there are not two features.
        """
        weights = [weight for _, weight in self.parts]
        if alpha is not None:
            weights = list(_pair_weights(alpha, len(self.parts)))
        parts = tuple((unit, weight) for (unit, _), weight in zip(self.parts, weights, strict=True))
        return replace(self, parts=parts, settings=_settings(self.settings, settings))

    def save(self, folder: Path | str) -> Path:
        """Write the files that ``ted propagate --out FOLDER`` writes: a palette PNG for each frame, and a record.

        An earlier result is replaced.

        Parameters
        ----------
        folder
            Folder of results.

        Returns
        -------
        Path
            The video's folder in it.

        Raises
        ------
        ConfigError
            When the folder holds something else than a result.
        CacheError
            When the files cannot be written.
        """
        masks, run = self._tracked
        target = result_folder(Path(folder), self.video)
        features = FeatureReader(self._weighted)
        with atomic_folder(target, {**describe_result(self._weighted, self.settings), **run.record}) as hidden:
            run.begin(hidden, features.grid, features.frame_size)
            for frame, ids in enumerate(masks):
                run.write_mask(frame, ids)
            run.write(hidden)
        return target

    def overlay(self, path: Path | str, *, fps: float = 12.0) -> Path:
        """Write a movie of the frames with the objects drawn over them.

        Parameters
        ----------
        path
            The file: ``.mp4``, or ``.webp`` for an animated picture.
        fps
            Frames per second.
        """
        from .pictures.movie import write_movie
        from .pictures.overlay import overlay_mask

        frames = (overlay_mask(self.video.frames.read(index), ids) for index, ids in enumerate(self.masks))
        return write_movie(Path(path), frames, fps=fps)

    @property
    def _weighted(self) -> list[tuple[Unit, float]]:
        return [(unit, weight) for unit, weight in self.parts if weight > 0]


class _ArrayFrames:
    """Frames in memory, as a `FrameSource`: (frame, y, x, 3), uint8, RGB."""

    def __init__(self, frames: npt.NDArray[np.uint8]) -> None:
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise FrameError(f"frames are (frame, y, x, 3) of uint8, not {frames.shape} of {frames.dtype}")
        self._frames = frames
        self.names = tuple(f"{index:05d}" for index in range(len(frames)))
        self.size: tuple[int, int] = (frames.shape[1], frames.shape[2])

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one frame: (y, x, 3), uint8, RGB."""
        frame: npt.NDArray[np.uint8] = self._frames[index]
        return frame

    def digest(self, indices: Sequence[int] | None = None) -> str:
        """Hash (SHA-256) the shape and pixels of some frames, all by default."""
        chosen = range(len(self)) if indices is None else indices
        digest = hashlib.sha256(repr(("frames in memory", len(chosen), *self.size)).encode())
        for index in chosen:
            digest.update(np.ascontiguousarray(self._frames[index]).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _AnnotatedVideo(Video):
    """A video with masks in memory: (y, x) of object numbers, by index of the frame."""

    masks: Mapping[int, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def read_annotated_masks(self) -> dict[int, npt.NDArray[np.uint8]]:
        return dict(self.masks)


def _open(video: Path | str | npt.NDArray[np.uint8], mask: _Mask | Mapping[int, _Mask] | None) -> Video:
    """Open a video and its masks; None for those of the video alone."""
    masks = {} if mask is None else dict(mask) if isinstance(mask, Mapping) else {0: mask}
    if isinstance(video, np.ndarray):
        frames = _ArrayFrames(video)
        opened = Video(dataset="array", name=f"frames-{frames.digest()[:8]}", frames=frames)
    else:
        # A mask among the frames is not a frame.
        first = masks.get(0)
        path = None if first is None or isinstance(first, np.ndarray) else Path(first)
        found = open_source(Source(path=Path(video), first_mask=path))
        if len(found) != 1:
            raise ConfigError(f"{video} has {len(found)} videos: give the path of one video")
        opened = found[0]
    if mask is None:
        return opened
    read = {}
    for index, item in sorted(masks.items()):
        if not 0 <= index < len(opened.frames):
            raise LabelError(f"there is a mask of frame {index}, but the frames are 0 to {len(opened.frames) - 1}")
        read[index] = _read_mask(item, opened.frames.size)
    if not read:
        raise LabelError("no mask is given")
    return _AnnotatedVideo(dataset=opened.dataset, name=opened.name, frames=opened.frames, masks=read)


def _read_mask(mask: _Mask, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    from .datasets.masks_io import read_annotated_mask

    if not isinstance(mask, np.ndarray):
        return read_annotated_mask(Path(mask), size)
    if mask.shape != size:
        raise LabelError(f"the mask is {mask.shape}, but the frames are {size} (height, width)")
    return object_mask(mask.astype(np.uint8) if mask.dtype == bool else mask)


def _weigh(
    features: str | Sequence[str] | Mapping[str, float], alpha: float | None
) -> list[tuple[FeatureChoice, float]]:
    """Return features and weights."""
    if isinstance(features, str):
        features = [features]
    weighted = dict(features) if isinstance(features, Mapping) else dict.fromkeys(features, 1.0)
    if not weighted:
        raise ConfigError("name a feature, such as rgb:0:stride8")
    if alpha is not None:
        if isinstance(features, Mapping):
            raise ConfigError("give either alpha or a weight for each feature")
        weighted = dict(zip(weighted, _pair_weights(alpha, len(weighted)), strict=True))
    return [(parse_choice(text), weight) for text, weight in weighted.items()]


def _pair_weights(alpha: float, count: int) -> tuple[float, float]:
    if count != 2:
        raise ConfigError(f"alpha weighs two features, but there {'is' if count == 1 else 'are'} {count}")
    return part_weights(alpha)


def _settings(base: PropagationSettings, changes: Mapping[str, Any]) -> PropagationSettings:
    known = list(PropagationSettings.__dataclass_fields__)
    for name in changes:
        if name not in known:
            raise ConfigError(f"there is no setting {name!r}; there are: {', '.join(known)}")
    return replace(base, **changes)


def _find(
    cache: Cache, video: Video, choice: FeatureChoice, extraction: ExtractionSettings, weights: Mapping[str, str]
) -> Unit | None:
    """Return complete features from the cache, if all of their request but the weights' files is known to be right.

    A choice with a digest names the request itself: features that the cache lacks are an error then.
    """
    frames = video.frames.digest()
    if choice.digest:
        return cache.find(video.dataset, video.name, choice, frames=frames)
    info = backbone_info(choice.backbone)
    clips = info.kind == "video"
    expected = {
        "conditioning": canonical_json(dict(info.conditioning)).decode(),
        "clip_overlap": str(extraction.overlap if clips else 0),
        "overlap_rule": extraction.overlap_rule if clips else "first",
        "compute_dtype": "float32",
        "noise": NOISE_SCHEME if choice.timestep else "none",
    }
    if choice.timestep:
        expected |= {"ensemble": str(extraction.ensemble), "seed": str(extraction.seed)}
    try:
        unit = cache.find(video.dataset, video.name, choice, frames=frames, prefer=[*expected.items()])
    except (UnitNotFoundError, IncompleteUnitError):
        return None
    request, size = unit.request, extraction.frame_size
    seed, _ = split_random(weights.get(choice.backbone))
    same_size = size is None or request.frame_size == size.exact or min(request.frame_size) == size.short_side
    untrained = request.weights.rpartition("sha256:")[0]  # "random:SEED:", or empty
    same_network = untrained == ("" if seed is None else f"random:{seed}:")
    same = all(request.field_text(field) == text for field, text in expected.items())
    return unit if same and same_size and same_network else None


def _extract(
    cache: Cache,
    video: Video,
    choices: Sequence[FeatureChoice],
    extraction: ExtractionSettings,
    weights: Mapping[str, str],
    device: torch.device,
) -> dict[FeatureChoice, Unit]:
    """Extract features of the video, and open them."""
    features = [f"{choice.backbone}:{choice.timestep}:{choice.tap}" for choice in choices]
    results = extract_features(cache.root, [video], features, extraction, device=device, weights=weights)
    specs = [spec for result in results for spec in (*result.report.written, *result.report.skipped)]
    return {choice: Unit(next(spec.folder(cache.root) for spec in specs if fits(spec, choice))) for choice in choices}
