"""Places in memory for the frames of a context: a frame that has left gives its place to another."""

from collections.abc import Iterable, Sequence

__all__ = ["Slots"]


class Slots:
    """Assigns frames to slots, numbered from 0, of which there are never more than are needed at once."""

    def __init__(self) -> None:
        self._slot_of: dict[int, int] = {}

    def put(self, frame: int) -> int:
        """Return the slot of a frame that comes in: the first free one."""
        taken = set(self._slot_of.values())
        self._slot_of[frame] = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        return self._slot_of[frame]

    def keep(self, frames: Iterable[int]) -> None:
        """Let go of every frame but these; those that are not there are ignored."""
        self._slot_of = {frame: self._slot_of[frame] for frame in frames if frame in self._slot_of}

    def of(self, context: Sequence[int]) -> list[int]:
        """Return the slots of frames."""
        return [self._slot_of[frame] for frame in context]
