"""Facts about the published networks that need no weights: which requests they take, and how large features are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..frame_size import FrameSize, processed_size

#: Channels and stride (pixels per cell) by tap.
Taps = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Timesteps, frame sizes and taps of a published network.

    Attributes
    ----------
    taps
        Channels and stride of the feature maps. Taps inside a block (``BLOCK.…``) are not listed.
    timesteps
        Number of timesteps of its training; 1 without noise.
    frame_multiple
        Height and width of a frame must be multiples of this number of pixels.
    fixed_size
        (height, width) to which every frame is brought; None for a network that takes frames of other sizes.
    """

    taps: Taps
    timesteps: int = 1000
    frame_multiple: int = 32
    fixed_size: tuple[int, int] | None = None

    def processed_size(self, size: tuple[int, int], frame_size: FrameSize | None) -> tuple[int, int]:
        """Return the (height, width) to which a frame of a size is brought; see `ted.extract.frame_size`."""
        return self.fixed_size or processed_size(size, frame_size, self.frame_multiple)

    def problem(self, timesteps: Sequence[int], taps: Sequence[str]) -> str | None:
        """Return what is wrong with a request; None if nothing is."""
        late = [timestep for timestep in timesteps if not 0 <= timestep < self.timesteps]
        if late:
            takes = f"it takes 0 to {self.timesteps - 1}" if self.timesteps > 1 else "it takes 0 alone"
            return f"it has no timestep {late[0]}; {takes}"
        unknown = [tap for tap in taps if tap.partition(".")[0] not in self.taps]
        return f"it has no tap {unknown[0]!r}; it has: {', '.join(self.taps)}" if unknown else None


def unet_taps(widths: Sequence[int]) -> Taps:
    """Return the taps of a diffusers UNet on a VAE's latents; the widths go from the finest level to the coarsest."""
    taps, stride, last = {}, 8, len(widths) - 1
    for i, width in enumerate(widths):
        stride *= 2 if i < last else 1
        taps[f"down_blocks[{i}]"] = (width, stride)
    taps["mid_block"] = (widths[-1], stride)
    for i, width in enumerate(reversed(widths)):
        stride //= 2 if i < last else 1
        taps[f"up_blocks[{i}]"] = (width, stride)
    return taps


def adm_taps(widths: Sequence[int], blocks: int = 2) -> Taps:
    """Return the taps of ADM with these widths and this number of residual blocks per level."""
    coarsest = 1 << (len(widths) - 1)
    taps = {f"down_blocks[{i}]": (width, min(2 << i, coarsest)) for i, width in enumerate(widths)}
    taps["mid_block"] = (widths[-1], coarsest)
    for i, width in enumerate(reversed(widths)):
        for j in range(blocks + 1):
            stride = max(coarsest >> (i + (j == blocks)), 1)
            taps[f"output_blocks[{i * (blocks + 1) + j}]"] = (width, stride)
        taps[f"up_blocks[{i}]"] = (width, stride)
    return taps


def vit_taps(patch: int) -> Taps:
    """Return the taps of a ViT-B with this patch size."""
    return dict.fromkeys((*(f"layers[{i}]" for i in range(12)), "last_hidden_state"), (768, patch))
