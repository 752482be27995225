"""How many items fit into one pass of a UNet."""

from collections.abc import Callable, Sequence

import torch

from .backbones.base import Backbone
from .clip_reader import HostClip
from .clips import Clip
from .features import ClipEncoder, latent_shape, run_pass
from .passes import Item

__all__ = ["fit_batch_size", "largest_batch"]

#: Frames in a pass, at most: a GPU is long busy by then. A choice, not a measurement.
_MOST_FRAMES = 64

#: Share of the free memory that a pass may take; the rest is for fragments, and for features on their way.
_SHARE = 0.8


def largest_batch(peak: Callable[[int], int], available: int, most: int) -> int:
    """Return the largest power of two of items that fit, at least 1.

    Memory of a pass is linear in its items: two passes tell how much each takes. A power of two is what slightly
    different measurements agree on, so that another run of the same job computes the same batches.

    Parameters
    ----------
    peak
        Peak bytes of a pass of so many items; asked for 1 and, if that leaves room, 2.
    available
        Bytes that a pass may take.
    most
        Items beyond which there is nothing to gain.
    """
    first = peak(1)
    if most < 2 or first > available:
        return 1
    each = max(peak(2) - first, 1)
    fitting = min(most, 1 + max(0, available - first) // each)
    return 1 << (fitting.bit_length() - 1)


def fit_batch_size(backbone: Backbone, frame_size: tuple[int, int], taps: Sequence[str]) -> int | None:
    """Measure how many items fit into the memory of the backbone's GPU; None where it runs on a processor.

    On a processor what a pass takes is hard to tell: the default serves.

    Parameters
    ----------
    backbone
        The backbone.
    frame_size
        (height, width) of the frames in pixels.
    taps
        What is read: the pass ends at the last of them.
    """
    if backbone.device.type != "cuda":
        return None
    shape = latent_shape(backbone, frame_size)
    clip = Clip(frames=tuple(range(backbone.clip_length)), keep=range(backbone.clip_length))
    host = HostClip(
        index=0,
        clip=clip,
        pixels=torch.zeros(backbone.clip_length, 3, *frame_size),
        image=torch.zeros(1, 3, *frame_size),
        image_index=0,
        noise=torch.randn(1, backbone.clip_length, *shape),
    )
    device_clip = ClipEncoder(backbone, video="", seed=0).encode(host)

    def peak(items: int) -> int:
        torch.cuda.synchronize(backbone.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(backbone.device)
        before = torch.cuda.memory_allocated(backbone.device)
        run_pass(backbone, [Item(clip=0, timestep=0, draw=0)] * items, {0: device_clip}, taps)
        torch.cuda.synchronize(backbone.device)
        return torch.cuda.max_memory_allocated(backbone.device) - before

    try:
        first = peak(1)
        torch.cuda.empty_cache()
        free = round(_SHARE * torch.cuda.mem_get_info(backbone.device)[0])
        # Attention along time has one sequence for each cell of each clip, and CUDA's kernels take 65535 at most.
        sequences = shape[-2] * shape[-1] if backbone.clip_length > 1 else 1
        most = max(1, min(_MOST_FRAMES // backbone.clip_length, 65535 // sequences))
        return largest_batch(lambda items: first if items == 1 else peak(items), free, most)
    except torch.OutOfMemoryError:
        return 1
    finally:
        torch.cuda.empty_cache()
