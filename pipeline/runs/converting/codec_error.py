"""Error of a codec: how cosines, best sources and masks change between original and stored features."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import torch
from numpy.typing import NDArray

from ....propagate import AttentionKernel, FeatureReader, FrameAffinity, PropagationSettings, TrackingSession
from ....propagate.context import frame_context
from ....propagate.kernels.cosine.pairs import pair_cosines, unit_vectors
from ....propagate.kernels.window import inside_window
from ....propagate.targets.masks import decode_mask, encode_mask
from ....store import UnitSpec

# Blocks of the fixed mask along y and x, and the number of different object numbers.
_BLOCKS, _NUMBERS = (4, 6), 5

# Number of pixels of a frame whose attention is compared.
_PIXELS = 512


@dataclass(frozen=True, kw_only=True)
class CodecError:
    """The error of a codec, measured on the first frames of a unit against the original features.

    With a single frame, only the first three attributes are set; the others are None.
    """

    frames: int  # number of frames, from the first of the video
    mask: str  # the propagated mask: ``"first mask"``, or ``"blocks"`` (see `block_mask`)
    settings: Mapping[str, float]  # temperature, top-k, radius and context of the propagation
    #: Mean and largest difference of the cosines of pixels with their k most similar sources; None for attention.
    cosine_mean: float | None = None
    cosine_max: float | None = None
    top_k_overlap: float | None = None  # share of the k most similar sources that both features have in common, 0 to 1
    #: Share of equal pixels in the propagated masks, at the size of the original frames, 0 to 1.
    mask_agreement: float | None = None
    #: For queries and keys of attention: mean and largest error of a pixel's weights of its sources (total variation, 0
    #: to 1; all heads, the whole window). None for other features.
    attention_mean: float | None = None
    attention_max: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON values, as a unit's run record holds them."""
        values = asdict(self) | {"settings": dict(self.settings)}
        return {name: value for name, value in values.items() if value is not None or not name.startswith("attention")}


@dataclass(frozen=True)
class _Volume:
    values: NDArray[np.floating[Any]]
    frame_size: tuple[int, int]
    spec: UnitSpec | None = None

    @property
    def features(self) -> da.Array:
        return da.from_array(self.values, chunks=(1, *self.values.shape[1:]), name=False)


def measure_error(
    original: NDArray[np.floating[Any]],  # (frame, y, x, channel)
    stored: NDArray[np.floating[Any]],  # (frame, y, x, any number of channels)
    *,
    frame_size: tuple[int, int],  # (height, width) in pixels of the frames that the network saw
    source_size: tuple[int, int],  # (height, width) in pixels of the original frames
    first_mask: NDArray[np.integer[Any]] | None = None,  # (height, width): object numbers
    settings: PropagationSettings | None = None,
    spec: UnitSpec | None = None,
    device: torch.device | str = "cpu",
) -> CodecError:
    """Compare features with their stored form, and the masks propagated along each.

    `stored` are the frames of `original`, the first ones of a video, as the codec decodes them. The default mask, also
    in place of one without objects, is `block_mask`; the default settings are the paper's for DAVIS-2017. Queries and
    keys of attention, which `spec` tells, are compared by the kernel ``attention``, queries alone with each other, and
    so are keys.
    """
    settings = settings or PropagationSettings()
    role = "" if spec is None else spec.tap.rpartition(":")[2]
    if role in ("qk", "q", "k"):
        settings = replace(settings, kernel=AttentionKernel(compare=role if role == "qk" else 2 * role))
    given = first_mask is not None and first_mask.any()
    mask = first_mask if first_mask is not None and given else block_mask(source_size)
    about: dict[str, Any] = {
        "frames": len(original),
        "mask": "first mask" if given else "blocks",
        "settings": {name: getattr(settings, name) for name in ("temperature", "top_k", "radius", "context")},
    }
    if len(original) < 2:
        return CodecError(**about)
    sessions = [open_session(values, frame_size, settings, spec, device=device) for values in (original, stored)]
    sources = compare_sources(original, stored, *sessions)
    if isinstance(settings.kernel, AttentionKernel):
        errors = _attention_errors([_Volume(values, frame_size, spec) for values in (original, stored)], settings)
        sources |= {"cosine_mean": None, "cosine_max": None}
        sources |= {"attention_mean": float(errors.double().mean()), "attention_max": float(errors.max())}
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
    spec: UnitSpec | None = None,
    *,
    device: torch.device | str = "cpu",
) -> TrackingSession:
    """Return a session with features in memory, (frame, y, x, channel), and no annotations yet."""
    return TrackingSession([(_Volume(values, frame_size, spec), 1.0)], settings, device=device)


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


def _attention_errors(volumes: Sequence[_Volume], settings: PropagationSettings) -> torch.Tensor:
    """Return the total variation between two forms' attention, (pixel,), for evenly spaced pixels of all frames."""
    forms = []
    for volume in volumes:
        reader = FeatureReader([(volume, 1.0)])
        kernel = settings.kernel.bind(reader.parts)
        assert isinstance(kernel, AttentionKernel)
        forms.append((kernel, [kernel.prepare(parts) for _, parts in reader.frames(torch.device("cpu"))]))
    count, height, width = volumes[0].values.shape[:3]
    cells = torch.arange(height * width)
    pixels = cells[:: max(1, len(cells) // _PIXELS)]
    dy, dx = cells // width - (pixels // width)[:, None], cells % width - (pixels % width)[:, None]
    inside = inside_window(dy, dx, settings.radius, settings.window)
    errors = []
    for frame in range(1, count):
        context = frame_context(frame, (0,), settings.context)
        one, other = (
            kernel.score_context(
                frames[frame][0].flatten(1, 2)[:, pixels],
                torch.cat([frames[source][1].flatten(1, 2) for source in context], dim=1),
                inside.repeat(1, len(context)),
                [len(cells)] * len(context),
            )[0]
            for kernel, frames in forms
        )
        errors.append((one - other).abs().sum(1) / 2)
    return torch.cat(errors)


def _overlap(sources: torch.Tensor, others: torch.Tensor) -> float:
    """Return the share of sources that are also among the others."""
    same = (sources[:, :, None] == others[:, None, :]).any(2)
    return float(same[sources >= 0].double().mean())
