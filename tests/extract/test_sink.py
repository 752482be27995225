import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ted.extract import sink as sinks
from ted.extract.features import Features
from ted.extract.sink import FeatureSink, VideoSink
from ted.store.errors import CacheError

KEY = (51, "tap")


class Recorder:
    """A unit's writer that records its frames, and can be slow or fail."""

    def __init__(self, delay: float = 0, failing: frozenset[int] = frozenset()) -> None:
        self.frames: dict[int, NDArray[np.float16]] = {}
        self.commits: list[int] = []
        self.pending = 0
        self._delay = delay
        self._failing = failing
        self._lock = threading.Lock()

    def write(self, frame: int, values: NDArray[np.float16]) -> None:
        time.sleep(self._delay)
        if frame in self._failing:
            raise CacheError(f"frame {frame} cannot be written")
        with self._lock:
            self.frames[frame] = values.copy()
            self.pending += 1

    def commit(self) -> None:
        with self._lock:
            self.commits.append(self.pending)
            self.pending = 0


def deliver(sink: VideoSink, frames: range, values: torch.Tensor) -> None:
    sink.deliver(Features(timestep=KEY[0], tap=KEY[1], frames=frames, values=values))


def make(recorder: Any, missing: set[int], **options: Any) -> tuple[FeatureSink, VideoSink]:
    sink = FeatureSink(**options)
    return sink, VideoSink(sink, {KEY: recorder}, {KEY: missing})


def test_frames_arrive_channels_last_in_half_precision() -> None:
    recorder = Recorder()
    sink, video = make(recorder, set(range(20)))
    values = torch.randn(20, 5, 3, 4)
    deliver(video, range(20), values)
    video.settle()
    sink.close()
    assert sorted(recorder.frames) == list(range(20))
    for frame, stored in recorder.frames.items():
        np.testing.assert_array_equal(stored, values[frame].permute(1, 2, 0).half().numpy())
    assert all(count >= 8 for count in recorder.commits)


def test_frames_that_are_there_are_not_written_again() -> None:
    recorder = Recorder()
    sink, video = make(recorder, {1, 3})
    deliver(video, range(5), torch.randn(5, 2, 2, 2))
    sink.close()
    assert sorted(recorder.frames) == [1, 3]
    assert sink.waited < 1


def test_who_delivers_waits_while_too_much_is_on_its_way() -> None:
    recorder = Recorder(delay=0.05)
    size = 2 * 8 * 4 * 4
    sink, video = make(recorder, set(range(12)), threads=2, most_bytes=3 * size)
    most = 0
    for frame in range(12):
        deliver(video, range(frame, frame + 1), torch.randn(1, 8, 4, 4))
        most = max(most, frame + 1 - len(recorder.frames))
    sink.close()
    assert len(recorder.frames) == 12
    assert most <= 4
    assert sink.waited > 0.1


def test_one_delivery_may_be_larger_than_the_bound() -> None:
    recorder = Recorder()
    sink, video = make(recorder, set(range(9)), most_bytes=1)
    deliver(video, range(9), torch.randn(9, 8, 4, 4))
    sink.close()
    assert len(recorder.frames) == 9


def test_an_error_of_a_thread_is_raised_where_features_are_computed() -> None:
    recorder = Recorder(failing=frozenset({2}))
    sink, video = make(recorder, set(range(9)), threads=1)
    deliver(video, range(6), torch.randn(6, 2, 2, 2))
    video.settle()
    with pytest.raises(CacheError, match="frame 2"):
        video.check()
    with pytest.raises(CacheError, match="frame 2"):
        deliver(video, range(6, 9), torch.randn(3, 2, 2, 2))
    assert sorted(recorder.frames) == [0, 1]  # nothing is written after the error
    sink.close()


def test_features_that_do_not_reach_the_host_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    sink, video = make(recorder, set(range(9)), most_bytes=1)

    def fail(values: torch.Tensor) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(sinks, "_to_host", fail)
        with pytest.raises(MemoryError):
            deliver(video, range(4), torch.randn(4, 2, 2, 2))
    later = threading.Thread(target=deliver, args=(video, range(4, 9), torch.randn(5, 2, 2, 2)), daemon=True)
    later.start()
    later.join(10)
    assert not later.is_alive()
    sink.close()
    assert sorted(recorder.frames) == [4, 5, 6, 7, 8]
