import random

import numpy as np
import pytest

from ted.extract.clips import Clip, count_contributions, plan_clips
from ted.store.errors import ConfigError


def naive_clips(frame_count: int, length: int, overlap: int) -> list[tuple[list[int], list[int]]]:
    """All frames and counting frames of each window, from the paper's description, one frame at a time."""
    windows, start = [], 0
    while start + length < frame_count:
        windows.append(start)
        start += length - overlap
    windows.append(max(frame_count - length, 0))
    seen: set[int] = set()
    result = []
    for start in windows:
        frames = [start + i if start + i < frame_count else frame_count - 1 for i in range(length)]
        kept = [frame for frame in dict.fromkeys(frames) if frame not in seen]
        seen.update(kept)
        result.append((frames, kept))
    return result


def kept_frames(clip: Clip) -> list[int]:
    return [clip.frames[i] for i in clip.keep]


def check(frame_count: int, length: int, overlap: int) -> None:
    clips = plan_clips(frame_count, length, overlap)
    assert [(list(clip.frames), kept_frames(clip)) for clip in clips] == naive_clips(frame_count, length, overlap)
    kept = [frame for clip in clips for frame in kept_frames(clip)]
    assert kept == list(range(frame_count))  # every frame exactly once, in order
    assert [frame for clip in clips for frame in clip.kept_frames] == kept
    for clip in clips:
        assert clip.start == clip.frames[0]
        assert len(clip.frames) == length
        assert len(clip.keep) > 0
        assert 0 <= min(clip.frames) <= max(clip.frames) < frame_count
    assert clips[-1].frames[-1] == frame_count - 1


def test_all_small_videos() -> None:
    for length in range(1, 8):
        for overlap in range(length):
            for frame_count in range(1, 4 * length + 3):
                check(frame_count, length, overlap)


def test_random_videos() -> None:
    generator = random.Random(0)
    for _ in range(300):
        length = generator.randint(1, 30)
        check(generator.randint(1, 400), length, generator.randint(0, length - 1))


def test_papers_setting() -> None:
    clips = plan_clips(50, 16, 2)
    assert [clip.start for clip in clips] == [0, 14, 28, 34]
    assert [list(clip.keep) for clip in clips] == [
        list(range(16)),
        list(range(2, 16)),
        list(range(2, 16)),
        list(range(10, 16)),
    ]


def test_shared_frames_keep_the_earlier_feature() -> None:
    first, second = plan_clips(10, 6, 2)
    assert set(first.frames) & set(second.frames) == {4, 5}
    assert list(first.kept_frames) == [0, 1, 2, 3, 4, 5]
    assert list(second.kept_frames) == [6, 7, 8, 9]


def test_last_window_is_shifted_back() -> None:
    *_, before, last = plan_clips(17, 8, 0)
    assert before.frames == tuple(range(8, 16))
    assert last.frames == tuple(range(9, 17))
    assert list(last.kept_frames) == [16]


def test_short_video_is_padded_with_its_last_frame() -> None:
    (clip,) = plan_clips(3, 6, 2)
    assert clip.frames == (0, 1, 2, 2, 2, 2)
    assert list(clip.keep) == [0, 1, 2]


def test_image_backbone_sees_frame_by_frame() -> None:
    assert [clip.frames for clip in plan_clips(4, 1, 0)] == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize(("length", "overlap"), [(16, 16), (16, 17), (16, -1), (1, 1)])
def test_impossible_overlap(length: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match=f"less than the clip length {length}, not {overlap}"):
        plan_clips(50, length, overlap)
    with pytest.raises(ConfigError, match="overlap"):
        plan_clips(3, length, overlap)  # also where a single clip would do


def check_mean(frame_count: int, length: int, overlap: int) -> None:
    """Average a random feature of each (window, position), by the plan and by definition."""
    rng = np.random.default_rng(frame_count)
    first, clips = (plan_clips(frame_count, length, overlap, rule) for rule in ("first", "mean"))
    assert [clip.frames for clip in clips] == [clip.frames for clip in first]  # the same windows
    values = rng.standard_normal((len(clips), length))
    sums, counts = np.zeros(frame_count), count_contributions(clips)
    for clip, feature in zip(clips, values, strict=True):
        assert kept_frames(clip) == list(clip.kept_frames) == list(dict.fromkeys(clip.frames))  # padding is dropped
        for frame, position in zip(clip.kept_frames, clip.keep, strict=True):
            sums[frame] += feature[position]
    assert len(counts) == frame_count
    for frame in range(frame_count):
        covering = [(i, clip.frames.index(frame)) for i, clip in enumerate(clips) if frame in clip.frames]
        assert counts[frame] == len(covering)
        assert sums[frame] / counts[frame] == pytest.approx(np.mean([values[where] for where in covering]))
    assert count_contributions(first) == (1,) * frame_count


def test_mean_of_the_windows_that_cover_a_frame() -> None:
    for length in range(1, 7):
        for overlap in range(length):
            for frame_count in range(1, 3 * length + 3):
                check_mean(frame_count, length, overlap)
    check_mean(50, 16, 2)


def test_contributions_in_the_papers_setting() -> None:
    counts = count_contributions(plan_clips(50, 16, 2, "mean"))
    # Windows begin at 0, 14, 28 and, shifted back, at 34.
    assert counts == (1,) * 14 + (2,) * 2 + (1,) * 12 + (2,) * 2 + (1,) * 4 + (2,) * 10 + (1,) * 6
