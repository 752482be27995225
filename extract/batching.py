"""Number of items that fit into one forward pass."""

from collections.abc import Callable

import torch

from .backbones.base import Backbone
from .clip_reader import HostClip
from .clips import Clip
from .features import ClipEncoder, latent_shape, run_pass
from .passes import Item
from .plan import VideoPlan

__all__ = ["fit_batch_size", "largest_batch"]

#: Most frames in a pass; a GPU is fully used with fewer. A choice, not a measurement.
_MOST_FRAMES = 64

#: Share of the free memory that a pass may take; the rest is for fragments, and for features on their way to the disk.
_SHARE = 0.8


def largest_batch(peak: Callable[[int], int], available: int, most: int) -> int:
    """Return the largest power of two of items that fit, at least 1.

    The memory of a pass is linear in its items, so two passes determine it. Slightly different measurements mostly
    agree on a power of two, so that another run of the same job computes the same batches.

    Parameters
    ----------
    peak
        Gives the peak bytes of a pass of so many items; called with 1 and, if that leaves room, with 2.
    available
        Bytes that a pass may take.
    most
        Largest useful number of items.
    """
    first = peak(1)
    if most < 2 or first > available:
        return 1
    each = max(peak(2) - first, 1)
    fitting = min(most, 1 + max(0, available - first) // each)
    return 1 << (fitting.bit_length() - 1)


def fit_batch_size(backbone: Backbone, plan: VideoPlan) -> int | None:
    """Measure how many items of a plan fit into the memory of the backbone's GPU.

    Returns
    -------
    int or None
        None on a processor, where the memory of a pass is hard to tell and the default size serves.
    """
    if backbone.device.type != "cuda":
        return None
    frame_size, length = plan.request.frame_size, backbone.clip_length
    shape = latent_shape(backbone, frame_size)
    host = HostClip(
        index=0,
        clip=Clip(frames=tuple(range(length)), keep=range(length)),
        pixels=torch.zeros(length, 3, *frame_size),
        image=torch.zeros(1, 3, *frame_size),
        image_index=0,
        noise=torch.randn(1, *shape) if plan.noising.random else None,
    )
    item = Item(clip=0, timestep=plan.passes.timesteps[0], draw=0)
    taps = list(dict.fromkeys(tap for _, tap in plan.specs))

    def peak(items: int) -> int:
        torch.cuda.synchronize(backbone.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(backbone.device)
        before = torch.cuda.memory_allocated(backbone.device)
        run_pass(backbone, [item] * items, {0: clip}, taps)
        torch.cuda.synchronize(backbone.device)
        return torch.cuda.max_memory_allocated(backbone.device) - before

    try:
        clip = ClipEncoder(backbone, plan).encode(host)
        first = peak(1)
        torch.cuda.empty_cache()
        free = round(_SHARE * torch.cuda.mem_get_info(backbone.device)[0])
        # Attention along time has one sequence for each cell of each clip; CUDA's kernels take 65535 at most.
        sequences = shape[-2] * shape[-1] if length > 1 else 1
        most = max(1, min(_MOST_FRAMES // length, 65535 // sequences))
        return largest_batch(lambda items: first if items == 1 else peak(items), free, most)
    except torch.OutOfMemoryError:
        return 1
    finally:
        torch.cuda.empty_cache()
