"""Forward passes over a video: (clip, timestep, draw) items in batches with fixed boundaries."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Item:
    """One element of a batch: a noisy clip."""

    clip: int  # index in the video's list of clips
    timestep: int  # tau
    draw: int  # number of the noise draw, from 0


@dataclass(frozen=True, kw_only=True)
class Passes:
    """All items of a video in a fixed order, divided into passes of equal size.

    Items are sorted by clip, then timestep, then draw. So a clip is finished, and can leave memory, before later clips
    begin. The items of a pass depend only on the four attributes below, never on finished work, because the last bits
    of a network's output depend on the batch's shape and on the index in it.
    """

    clips: int  # number of clips
    timesteps: tuple[int, ...]  # tau, in the order of computation
    draws: int  # number of noise draws to average
    size: int  # number of items in a pass. The last pass is padded by repeating its last item.

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
        """Return the number of items of a pass that are not padding; these come first."""
        return min(self.size, self._total - number * self.size)

    def needed(self, wanted: Collection[tuple[int, int]]) -> list[int]:
        """Return the numbers of the passes that contain one of these (clip, timestep) pairs, rising."""
        numbers: set[int] = set()
        for clip, timestep in wanted:
            first = (clip * len(self.timesteps) + self.timesteps.index(timestep)) * self.draws
            numbers.update(range(first // self.size, (first + self.draws - 1) // self.size + 1))
        return sorted(numbers)

    def _item(self, index: int) -> Item:
        group, draw = divmod(index, self.draws)
        clip, position = divmod(group, len(self.timesteps))
        return Item(clip=clip, timestep=self.timesteps[position], draw=draw)
