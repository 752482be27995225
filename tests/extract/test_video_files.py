"""Frames of video files."""

import os
import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ted.extract.frames import (
    FrameSource,
    ImageFrames,
    SelectedFrames,
    VideoFrames,
)
from ted.extract.truncation import video_is_truncated
from ted.store.errors import FrameError

from .pictures import Picture, picture, write_video


def mean_difference(a: Picture, b: Picture) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_video_frames_come_back_in_any_order(avi: Path, pictures: list[Picture]) -> None:
    frames: FrameSource = VideoFrames(avi)
    assert len(frames) == 7
    assert frames.names == tuple(f"{i:05d}" for i in range(7))
    assert frames.size == (48, 64)
    for i in [0, 1, 2, 2, 5, 3, 6, 0, 6]:
        got = frames.read(i)
        differences = [mean_difference(got, expected) for expected in pictures]
        # In RGB order, and nearer to its own frame than to any other.
        assert differences[i] < 6
        assert int(np.argmin(differences)) == i
    with pytest.raises(FrameError, match="ends after 7 frames"):
        frames.read(7)


def test_a_frame_that_was_read_can_be_changed_without_harm(avi: Path) -> None:
    frames = VideoFrames(avi)
    expected = frames.read(2).copy()
    frames.read(2)[:] = 0
    np.testing.assert_array_equal(frames.read(2), expected)


def test_opening_does_not_decode(avi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(av, "open", refuse)
    monkeypatch.setattr(cv2, "imdecode", refuse)
    SelectedFrames(VideoFrames(avi), every=2)
    ImageFrames([avi.with_suffix(".png")])
    with pytest.raises(AssertionError, match="opened"):  # where it would
        VideoFrames(avi).read(0)


def test_only_the_beginning_of_a_video_is_looked_at(avi: Path) -> None:
    frames = VideoFrames(avi, at_most=3)
    assert len(frames) == 3
    assert frames.digest() == VideoFrames(avi).digest([0, 1, 2]) != VideoFrames(avi).digest()
    with pytest.raises(IndexError):
        frames.read(3)


def test_a_video_in_use_can_go_to_another_process(avi: Path) -> None:
    frames = VideoFrames(avi)
    expected = frames.read(4)
    copy = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(copy.read(4), expected)
    assert copy.digest() == frames.digest()
    frames.close()
    np.testing.assert_array_equal(frames.read(4), expected)


def test_video_digest_does_not_depend_on_the_path(avi: Path, tmp_path: Path, pictures: list[Picture]) -> None:
    digest = VideoFrames(avi).digest()
    other = write_video(tmp_path / "other.avi", pictures[::-1])
    assert VideoFrames(other).digest() != digest
    assert VideoFrames(avi.rename(tmp_path / "moved to.avi")).digest() == digest


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")])
def test_truncated_videos_are_refused(tmp_path: Path, name: str, code: str) -> None:
    path = write_video(tmp_path / name, [picture(48, 64, seed=i) for i in range(20)], code)
    assert len(VideoFrames(path)) == 20
    data = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        for use in (len, lambda frames: frames.read(0), lambda frames: frames.digest()):
            with pytest.raises(FrameError, match=rf"{name} is truncated"):
                use(VideoFrames(path))


def test_mp4_with_its_index_first_is_checked_to_its_end(tmp_path: Path) -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    long_mdat = (1).to_bytes(4, "big") + b"mdat" + (16 + 50).to_bytes(8, "big") + bytes(50)
    for whole in (
        box(b"ftyp", b"isom") + box(b"moov", bytes(40)) + box(b"mdat", bytes(100)),
        box(b"ftyp", b"isom") + box(b"moov", bytes(40)) + long_mdat,
    ):
        path = tmp_path / "a.mp4"
        path.write_bytes(whole)
        assert not video_is_truncated(path)
        path.write_bytes(whole + bytes(4))
        assert not video_is_truncated(path)
        path.write_bytes(whole[:-1])
        assert video_is_truncated(path)


def test_videos_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"no video file .*a\.avi"):
        VideoFrames(tmp_path / "a.avi")
    (tmp_path / "a.avi").touch()
    with pytest.raises(FrameError, match=r"a\.avi is empty"):
        len(VideoFrames(tmp_path / "a.avi"))
    (tmp_path / "b.mpg").write_bytes(bytes(1000))
    with pytest.raises(FrameError, match=r"cannot open video .*b\.mpg"):
        VideoFrames(tmp_path / "b.mpg").read(0)


def test_a_file_that_changes_after_it_was_hashed_is_refused(avi: Path) -> None:
    frames = VideoFrames(avi)
    frames.digest()
    frames.read(0)
    os.utime(avi, ns=(1, 1))
    with pytest.raises(FrameError, match="has changed"):
        frames.read(1)
    avi.unlink()
    with pytest.raises(FrameError, match="cannot read"):
        frames.read(1)
