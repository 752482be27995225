"""The features of a context, as matrix products want them: all frames in one tensor."""

from collections.abc import Sequence

import torch

from ...slots import Slots
from .precision import Precision

__all__ = ["Keys"]

# Channels behind the features in low precision: two of ones, which the queries' shifts meet, and padding to a round
# number of bytes.
_EXTRA = 8


class Keys:
    """Frames that serve as sources.

    Parameters
    ----------
    capacity
        The most frames held at once.
    precision
        Of the products that will be taken.

    Attributes
    ----------
    parts
        One tensor a part, (slot, y, x, channel), float32, L2-normalised.
    low
        The same in low precision, with `_EXTRA` channels more; empty where products are taken in float32.
    slots
        Which frame is where.
    """

    def __init__(self, capacity: int, precision: Precision) -> None:
        self.precision = precision
        self.parts: list[torch.Tensor] = []
        self.low: list[torch.Tensor] = []
        self.slots = Slots()
        self._capacity = capacity

    @classmethod
    def of(cls, context: Sequence[torch.Tensor], precision: Precision) -> "Keys":
        """Hold a whole context: (frame, y, x, channel), one tensor a part, frames numbered by their place."""
        count = context[0].shape[0]
        keys = cls(count, precision)
        for place in range(count):
            keys.put(place, [part[place] for part in context])
        return keys

    def put(self, frame: int, features: Sequence[torch.Tensor]) -> None:
        """Hold a frame: one tensor a part, (y, x, channel), float32, L2-normalised."""
        if not self.parts:
            self._allocate(features)
        slot = self.slots.put(frame)
        for part, values in zip(self.parts, features, strict=True):
            part[slot] = values
        for part, values in zip(self.low, features, strict=False):  # none of them, or all
            part[slot, :, :, :-_EXTRA] = values

    def shifted(self, queries: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Return queries (y, x, channel) whose products with `low` are lower by a shift (y, x) than their cosines."""
        dtype = self.precision.dtype
        high = shift.to(dtype)
        extra = queries.new_zeros((*queries.shape[:-1], _EXTRA))
        extra[..., 0] = -high.float()
        extra[..., 1] = high.float() - shift
        return torch.cat([queries, extra], dim=-1).to(dtype)

    def _allocate(self, features: Sequence[torch.Tensor]) -> None:
        self.parts = [values.new_zeros((self._capacity, *values.shape)) for values in features]
        if self.precision.is_low:
            for values in features:
                *grid, channels = values.shape
                low = values.new_zeros((self._capacity, *grid, channels + _EXTRA), dtype=self.precision.dtype)
                low[..., channels : channels + 2] = 1
                self.low.append(low)
