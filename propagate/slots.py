"""Slots in memory for the frames of a context; the slot of a frame that has left is used again."""

from collections.abc import Iterable, Sequence

__all__ = ["Slots"]


class Slots:
    """Assignment of frames to slots, numbered from 0: never more slots than frames held at once."""

    def __init__(self) -> None:
        self._slot_of: dict[int, int] = {}

    def put(self, frame: int) -> int:
        """Assign the first free slot to a frame, and return it."""
        taken = set(self._slot_of.values())
        self._slot_of[frame] = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        return self._slot_of[frame]

    def keep(self, frames: Iterable[int]) -> None:
        """Free the slots of all frames but these; frames without a slot are ignored."""
        self._slot_of = {frame: self._slot_of[frame] for frame in frames if frame in self._slot_of}

    def of(self, context: Sequence[int]) -> list[int]:
        """Return the slots of the frames of a context."""
        return [self._slot_of[frame] for frame in context]
