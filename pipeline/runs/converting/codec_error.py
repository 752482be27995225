"""Error of a codec: how cosines, best sources and masks change between original and stored features."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dask.array as da
import numpy as np
import torch
from numpy.typing import NDArray

from ....propagate import FrameAffinity, PropagationSettings, TrackingSession
from ....propagate.kernels.cosine.pairs import pair_cosines, unit_vectors
from ....propagate.targets.masks import decode_mask, encode_mask

__all__ = ["CodecError", "block_mask", "compare_sources", "measure_error", "open_session", "propagate_mask"]

# Blocks of the fixed mask along y and x, and the number of different object numbers.
_BLOCKS, _NUMBERS = (4, 6), 5


@dataclass(frozen=True, kw_only=True)
class CodecError:
    """The error of a codec, measured on the first frames of a unit against the original features.

    With a single frame, only the first three attributes are set; the others are None.

    Attributes
    ----------
    frames
        Number of frames, from the first of the video.
    mask
        The propagated mask: ``"first mask"``, or ``"blocks"`` (see `block_mask`).
    settings
        Temperature, top-k, radius and context of the propagation.
    cosine_mean, cosine_max
        Mean and largest difference of the cosines of pixels with their k most similar sources.
    top_k_overlap
        Share of the k most similar sources that both features have in common, 0 to 1.
    mask_agreement
        Share of equal pixels in the propagated masks, at the size of the original frames, 0 to 1.
    """

    frames: int
    mask: str
    settings: Mapping[str, float]
    cosine_mean: float | None = None
    cosine_max: float | None = None
    top_k_overlap: float | None = None
    mask_agreement: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON values, as a unit's run record holds them."""
        return asdict(self) | {"settings": dict(self.settings)}


@dataclass(frozen=True)
class _Volume:
    values: NDArray[np.floating[Any]]
    frame_size: tuple[int, int]

    @property
    def features(self) -> da.Array:
        return da.from_array(self.values, chunks=(1, *self.values.shape[1:]), name=False)


def measure_error(
    original: NDArray[np.floating[Any]],
    stored: NDArray[np.floating[Any]],
    *,
    frame_size: tuple[int, int],
    source_size: tuple[int, int],
    first_mask: NDArray[np.integer[Any]] | None = None,
    settings: PropagationSettings | None = None,
    device: torch.device | str = "cpu",
) -> CodecError:
    """Compare features with their stored form, and the masks propagated along each.

    Parameters
    ----------
    original
        (frame, y, x, channel): the first frames of a video.
    stored
        The same frames as the codec decodes them, (frame, y, x, any number of channels).
    frame_size, source_size
        (height, width) in pixels of the frames that the network saw, and of the original frames.
    first_mask
        (height, width): object numbers in the first frame. The default, also for a mask without objects, is
        `block_mask`.
    settings
        Settings of the propagation; the defaults are the paper's for DAVIS-2017.
    device
        The device that computes.
    """
    settings = settings or PropagationSettings()
    given = first_mask is not None and bool(first_mask.any())
    mask = first_mask if given and first_mask is not None else block_mask(source_size)
    described = {name: getattr(settings, name) for name in ("temperature", "top_k", "radius", "context")}
    about: dict[str, Any] = {
        "frames": len(original),
        "mask": "first mask" if given else "blocks",
        "settings": described,
    }
    if len(original) < 2:
        return CodecError(**about)
    sessions = [open_session(values, frame_size, settings, device=device) for values in (original, stored)]
    sources = compare_sources(original, stored, *sessions)
    masks = [propagate_mask(session, mask, frame_size) for session in sessions]
    return CodecError(
        **about,
        **sources,
        mask_agreement=float(np.mean(masks[0] == masks[1])),
    )


def open_session(
    values: NDArray[np.floating[Any]],
    frame_size: tuple[int, int],
    settings: PropagationSettings,
    *,
    device: torch.device | str = "cpu",
) -> TrackingSession:
    """Return a session with features in memory, (frame, y, x, channel), and no annotations yet."""
    return TrackingSession([(_Volume(values, frame_size), 1.0)], settings, device=device)


def propagate_mask(
    session: TrackingSession, mask: NDArray[np.integer[Any]], frame_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Propagate the first mask; return the masks of the later frames, (frame, height, width)."""
    first = encode_mask(mask, session.grid)
    session.annotate(0, first.label)
    size = (mask.shape[0], mask.shape[1])
    masks = [decode_mask(label, first.object_ids, frame_size=frame_size, size=size) for _, label in session.labels()]
    return np.stack(masks[1:])


def compare_sources(
    original: NDArray[np.floating[Any]],
    stored: NDArray[np.floating[Any]],
    before: TrackingSession,
    after: TrackingSession,
) -> dict[str, Any]:
    """Return the errors of cosines and sources, as `CodecError` names them, from the sessions of both features."""
    differences, overlap = [], []
    for one, other in zip(before.affinities(annotated=(0,)), after.affinities(annotated=(0,)), strict=True):
        differences.append(_cosine_differences(original, stored, one))
        overlap.append(_overlap(_sources(one), _sources(other)))
    every = torch.cat(differences)
    return {
        "cosine_mean": float(every.double().mean()),
        "cosine_max": float(every.max()),
        "top_k_overlap": float(np.mean(overlap)),
    }


def block_mask(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask of 4 x 6 blocks with the numbers 0 to 4, (height, width); neighbours differ.

    Its edges follow no object, and many pixels lie near an edge: masks of real objects agree better.
    """
    rows, columns = (np.arange(side) * blocks // side for side, blocks in zip(size, _BLOCKS, strict=True))
    mask: NDArray[np.uint8] = ((2 * rows[:, None] + columns) % _NUMBERS).astype(np.uint8)
    return mask


def _sources(step: FrameAffinity) -> torch.Tensor:
    """Return the sources of each pixel, (pixel, k), rising; -1 for none."""
    affinity = step.affinity
    return affinity.sources.masked_fill(affinity.similarity == -torch.inf, -1).sort(dim=1).values.cpu()


def _cosine_differences(
    original: NDArray[np.floating[Any]], stored: NDArray[np.floating[Any]], step: FrameAffinity
) -> torch.Tensor:
    """Return the absolute difference of cosines, (pair,), for each pixel of a frame and each of its sources."""
    sources = _sources(step)
    cosines = []
    for values in (original, stored):
        query = unit_vectors(torch.from_numpy(values[step.frame])).flatten(0, 1)
        keys = unit_vectors(torch.from_numpy(values[list(step.context)])).flatten(0, 2)
        cosines.append(pair_cosines(query, keys, sources.clamp(min=0))[sources >= 0])
    return (cosines[0] - cosines[1]).abs()


def _overlap(sources: torch.Tensor, others: torch.Tensor) -> float:
    """Return the share of sources that are also among the others."""
    same = (sources[:, :, None] == others[:, None, :]).any(2)
    return float(same[sources >= 0].double().mean())
