"""Clips: the windows of frames that a video network processes together."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..store.errors import ConfigError

#: Feature of a frame that several clips cover: the first clip's, or the mean over the clips.
OverlapRule = Literal["first", "mean"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One window of frames."""

    #: Indices of the clip's frames, as many as the clip length; the last frame of a short video is repeated.
    frames: tuple[int, ...]
    #: Positions in `frames` whose features count. Under the rule ``"first"``, a frame counts only in the first clip
    #: that covers it; under ``"mean"``, in all of them.
    keep: range

    @property
    def start(self) -> int:
        """Index of the first frame, which keys the clip's noise."""
        return self.frames[0]

    @property
    def kept_frames(self) -> range:
        """Indices in the video of the frames that count in this clip."""
        return range(self.start + self.keep.start, self.start + self.keep.stop)


def plan_clips(frame_count: int, length: int, overlap: int, rule: OverlapRule = "first") -> list[Clip]:
    """Cover a video with clips of one length (TED, section on long videos).

    Windows advance by ``length - overlap`` frames. The last window is shifted back to end at the last frame. A video
    shorter than a clip is padded by repeating its last frame; the padding's features are dropped. In overlaps,
    including that from the shift of the last window, a frame gets the first window's feature or the mean (`rule`).

    The `kept_frames` of the clips cover the video, under ``"first"`` each frame exactly once. Raises ConfigError when
    the overlap is not smaller than the clip.
    """
    if not 0 <= overlap < length:
        raise ConfigError(f"clip overlap must be at least 0 and less than the clip length {length}, not {overlap}")
    if frame_count <= length:
        padded = [min(i, frame_count - 1) for i in range(length)]
        return [Clip(frames=tuple(padded), keep=range(frame_count))]
    clips: list[Clip] = []
    covered = 0
    while covered < frame_count:
        start = min(len(clips) * (length - overlap), frame_count - length)
        keep = range(0 if rule == "mean" else covered - start, length)
        clips.append(Clip(frames=tuple(range(start, start + length)), keep=keep))
        covered = start + length
    return clips


def count_contributions(clips: Iterable[Clip]) -> tuple[int, ...]:
    """Return the number of clips in which each frame of a video counts: the divisor of its sum of features."""
    counts = Counter(frame for clip in clips for frame in clip.kept_frames)
    return tuple(counts[frame] for frame in range(len(counts)))
