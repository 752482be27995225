"""Number of items that fit into one forward pass, measured."""

import math
from collections.abc import Callable

import torch

from .backbones.base import Backbone
from .clip_reader import HostClip
from .clips import Clip
from .features import ClipEncoder, latent_shape, run_pass
from .passes import Item
from .plan import VideoPlan, default_batch_size
from .runtime import MemoryMeter, free_memory, is_out_of_memory

#: Maximum number of frames in a pass (an estimate): a GPU is fully used with fewer.
_MOST_FRAMES = 64

#: Share of the free memory for a pass; the rest is for fragmentation, and for features waiting to be written.
_SHARE = 0.8


def largest_batch(peak: Callable[[int], int], available: int, most: int) -> int:
    """Return the largest number of items that fit into memory, rounded down to a power of two, from 1 to `most`.

    A pass's memory is linear in the number of items, so two measurements determine it: `peak` returns the bytes of a
    pass with a number of items; it is called with 1 and, if that leaves room, with 2. The power of two absorbs small
    differences between measurements, so that another run of the same job has the same batches.
    """
    first = peak(1)
    if most < 2 or first > available:
        return 1
    each = max(peak(2) - first, 1)
    fitting = min(most, 1 + max(0, available - first) // each)
    return 1 << (fitting.bit_length() - 1)


class BatchSizes:
    """Batch sizes that fit into the memory of a backbone's device; one measurement serves all frame sizes."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._measured: tuple[int, int] | None = None  # items that fit in a pass, and pixels of the measured frames

    def fit(self, plan: VideoPlan, at_most: int | None = None) -> VideoPlan:
        """Return the plan with as many items in a pass as fit, and at most a number of them."""
        pixels = math.prod(plan.request.frame_size)
        if self._measured is None:
            self._measured = fit_batch_size(self._backbone, plan), pixels
        # Memory is proportional to the number of pixels.
        size = max(1, self._measured[0] * self._measured[1] // pixels)
        return plan.with_batch_size(min(size, at_most or size))


def fit_batch_size(backbone: Backbone, plan: VideoPlan) -> int:
    """Measure how many items of a plan fit into the memory of the backbone's device.

    On a CPU, where larger batches are not faster, that is at most the default size.
    """
    on_gpu = backbone.device.type == "cuda"
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
        run_pass(backbone, [item] * items, {0: clip}, taps)
        return meter.peak

    try:
        clip = ClipEncoder(backbone, plan).encode(host)
        meter = MemoryMeter(backbone.device)
        first = peak(1)
        # A CPU's pass has left memory to the process that the next one uses.
        free = round(_SHARE * (free_memory(backbone.device) + (0 if on_gpu else first)))
        # Temporal attention has one sequence for each cell of each clip; CUDA's kernels take at most 65535.
        sequences = shape[-2] * shape[-1] if length > 1 and on_gpu else 1
        most = min(_MOST_FRAMES // length, 65535 // sequences) if on_gpu else default_batch_size(backbone)
        return largest_batch(lambda items: first if items == 1 else peak(items), free, max(1, most))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return 1
    finally:
        if on_gpu:
            torch.cuda.empty_cache()
