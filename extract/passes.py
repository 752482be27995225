"""The forward passes of a video: its (clip, timestep, draw) items in batches with fixed boundaries."""

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Item", "Passes"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One element of a batch: a noisy clip.

    Attributes
    ----------
    clip
        Index in the video's list of clips.
    timestep
        tau.
    draw
        Number of the noise draw, from 0.
    """

    clip: int
    timestep: int
    draw: int


@dataclass(frozen=True, kw_only=True)
class Passes:
    """All items of a video in a fixed order, cut into passes of one size.

    Clips come in the order of the video, within a clip the timesteps, within a timestep the draws. So a clip is
    finished, and can leave memory, before later ones begin. The items of a pass depend on the four numbers below
    alone, never on what is done already: a network's last bits depend on the batch's shape and on the index in it.

    Attributes
    ----------
    clips
        Number of clips.
    timesteps
        tau, in the order of computation.
    draws
        Noise draws that are averaged.
    size
        Items in a pass. The last pass is filled up by repeating its last item.
    """

    clips: int
    timesteps: tuple[int, ...]
    draws: int
    size: int

    def __len__(self) -> int:
        return -(-self._total // self.size)

    @property
    def _total(self) -> int:
        return self.clips * len(self.timesteps) * self.draws

    def items(self, number: int) -> list[Item]:
        """Return the items of a pass, `size` of them."""
        first = number * self.size
        return [self._item(min(i, self._total - 1)) for i in range(first, first + self.size)]

    def real(self, number: int) -> int:
        """Return how many items of a pass, at its beginning, are no repetitions."""
        return min(self.size, self._total - number * self.size)

    def needed(self, wanted: Collection[tuple[int, int]]) -> list[int]:
        """Return the passes with an item of these (clip, timestep) pairs, in order."""
        numbers: set[int] = set()
        for clip, timestep in wanted:
            first = (clip * len(self.timesteps) + self.timesteps.index(timestep)) * self.draws
            numbers.update(range(first // self.size, (first + self.draws - 1) // self.size + 1))
        return sorted(numbers)

    def _item(self, index: int) -> Item:
        group, draw = divmod(index, self.draws)
        clip, position = divmod(group, len(self.timesteps))
        return Item(clip=clip, timestep=self.timesteps[position], draw=draw)
