"""The keys of a context in memory, exact and rounded."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .precision import Precision

#: Cells in a segment of the row engine. The number of stored cells is a multiple of it.
SEGMENT = 8

#: Extra channels of rounded keys: two channels of ones, which multiply the queries' shifts, and padding for alignment.
EXTRA = 8


@dataclass(frozen=True, kw_only=True)
class PartKeys:
    """L2-normalised features of one part: a slot for each frame, and a row for each cell of the grid.

    Products in low precision use rounded keys. bfloat16 is the upper half of float32, so only the lower half is stored
    beside it; float16 is stored beside float32.

    Attributes
    ----------
    exact
        (slot, cell, channel), float32; int16, the lower halves, if `rounded` is bfloat16.
    rounded
        (slot, cell, channel + EXTRA), in low precision; None if products are computed in float32.
    """

    exact: torch.Tensor
    rounded: torch.Tensor | None

    @classmethod
    def empty(cls, features: torch.Tensor, capacity: int, precision: Precision) -> "PartKeys":
        """Return slots for a number of frames whose features have the shape (y, x, channel)."""
        height, width, channels = features.shape
        shape = (capacity, -(-height * width // SEGMENT) * SEGMENT, channels)
        if not precision.is_low:
            return cls(exact=features.new_zeros(shape), rounded=None)
        rounded = features.new_zeros((*shape[:2], channels + EXTRA), dtype=precision.dtype)
        rounded[..., channels : channels + 2] = 1
        halves = precision.dtype == torch.bfloat16
        return cls(exact=features.new_zeros(shape, dtype=torch.int16 if halves else torch.float32), rounded=rounded)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.exact.nbytes + (0 if self.rounded is None else self.rounded.nbytes)

    @property
    def cells(self) -> int:
        """Number of cells of a slot, with padding."""
        return self.exact.shape[1]

    def put(self, slot: int, features: torch.Tensor) -> None:
        """Store a frame's features, (y, x, channel), float32."""
        values = features.flatten(0, 1)
        exact = self.exact[slot, : len(values)]
        if self.exact.dtype == torch.int16:
            bits = values.contiguous().view(torch.int32)
            exact.copy_(bits)  # modulo 2^16
            values = ((bits - exact) >> 16).to(torch.int16).view(torch.bfloat16)
        else:
            exact.copy_(values)
        if self.rounded is not None:
            self.rounded[slot, : len(values), :-EXTRA] = values

    def some(self, slots: list[int]) -> "PartKeys":
        """Return a copy of some slots."""
        return PartKeys(exact=self.exact[slots], rounded=None if self.rounded is None else self.rounded[slots])

    def of(self, slots: int | torch.Tensor | slice, cells: slice, *, low: bool = False) -> torch.Tensor:
        """Return keys, (slot, cell, channel): float32, or the rounded ones, a view."""
        if low:
            assert self.rounded is not None
            return self.rounded[slots, cells]
        return self._float32(lambda stored: stored[slots, cells])

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        """Return keys, (n, channel), float32, by their index in (slot, cell)."""
        return self._float32(lambda stored: stored.flatten(0, 1)[index])

    def _float32(self, select: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        exact = select(self.exact)
        if self.rounded is None or exact.dtype == torch.float32:
            return exact
        upper = select(self.rounded)[..., :-EXTRA].contiguous().view(torch.int16).int() << 16
        return upper.add_(exact).view(torch.float32)
