"""Slots in memory for the frames of a context; slots of frames that have left are reused."""

from collections.abc import Iterable, Sequence


class Slots:
    """Assignment of frames to slots, numbered from 0, with as few slots as possible."""

    def __init__(self) -> None:
        self._slot_of: dict[int, int] = {}

    def put(self, frame: int) -> int:
        """Assign the first free slot to a frame, and return it."""
        taken = set(self._slot_of.values())
        self._slot_of[frame] = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        return self._slot_of[frame]

    def keep(self, frames: Iterable[int]) -> None:
        """Free the slots of all other frames; ignore frames without a slot."""
        self._slot_of = {frame: self._slot_of[frame] for frame in frames if frame in self._slot_of}

    def of(self, context: Sequence[int]) -> list[int]:
        """Return the slots of the frames of a context."""
        return [self._slot_of[frame] for frame in context]
