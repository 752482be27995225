"""Compare each frame of many kinds of video files with pictures that are known by construction."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ted.extract.frames import SelectedFrames, VideoFrames
from ted.store.errors import FrameError

from .clips import Picture, blocks, encode, inside, open_stream, write_clip, yuv_frame
from .pictures import picture

H264 = {"crf": "10", "bf": "2", "g": "12"}


def read_all(path: Path) -> list[Picture]:
    frames = VideoFrames(path)
    return [frames.read(index) for index in range(len(frames))]


def check_exactly(path: Path, expected: list[Picture]) -> None:
    got = read_all(path)
    assert len(got) == len(expected)
    for index, (one, other) in enumerate(zip(got, expected, strict=True)):
        np.testing.assert_array_equal(one, other, err_msg=f"frame {index} of {path.name}")


def check_nearly(path: Path, expected: list[Picture], mean: float) -> None:
    """Check that the mean absolute difference is small, and that every frame is nearest to its own picture."""
    got = read_all(path)
    assert len(got) == len(expected)
    for index, frame in enumerate(got):
        differences = [np.abs(frame.astype(float) - other).mean() for other in expected]
        assert differences[index] < mean
        assert int(np.argmin(differences)) == index


@pytest.fixture(autouse=True)
def _no_false_alarm(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that sound videos give no warning of damage."""
    yield
    if "damaged" not in request.node.name:
        assert not [record.getMessage() for record in caplog.get_records("call") if "damaged" in record.getMessage()]


@pytest.fixture
def pictures() -> list[Picture]:
    return [picture(48, 64, seed=index) for index in range(6)]


# --- Codecs, containers, pixel formats


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mov", "png", "rgb24"),
        ("a.mov", "qtrle", "rgb24"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.avi", "utvideo", "gbrp"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.mkv", "ffv1", "gbrp10le"),
    ],
)
@pytest.mark.parametrize("size", [(48, 64), (41, 57)])
def test_lossless_rgb_is_exact(tmp_path: Path, name: str, codec: str, pixel_format: str, size: tuple[int, int]) -> None:
    expected = [picture(*size, seed=index) for index in range(3)]
    check_exactly(write_clip(tmp_path / name, expected, codec, pixel_format), expected)


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "png"), ("a.mkv", "ffv1")])
def test_alpha_is_dropped(tmp_path: Path, name: str, codec: str) -> None:
    expected = [picture(48, 64, seed=index) for index in range(2)]
    pixel_format = "rgba" if codec == "png" else "bgra"
    frames = []
    for content in expected:
        alpha = np.random.default_rng(0).integers(0, 256, (48, 64, 1), dtype=np.uint8)
        ordered = content if pixel_format == "rgba" else content[..., ::-1]
        frames.append(av.VideoFrame.from_ndarray(np.concatenate([ordered, alpha], axis=2), format=pixel_format))
    check_exactly(write_clip(tmp_path / name, frames, codec, pixel_format), expected)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuva420p", "yuv444p10le"])
@pytest.mark.parametrize("matrix", [None, 5, 1, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_matrix_and_range(tmp_path: Path, pixel_format: str, matrix: int | None, full: bool) -> None:
    expected = [blocks(64, 80, seed=index) for index in range(2)]
    frames = [yuv_frame(content, pixel_format, matrix=matrix, full=full) for content in expected]
    tags = {"color_range": 2 if full else 1} | ({} if matrix is None else {"colorspace": matrix})
    got = read_all(write_clip(tmp_path / "a.mkv", frames, "ffv1", pixel_format, **tags))
    for one, other in zip(got, expected, strict=True):
        assert np.abs(one.astype(int) - other)[inside(64, 80)].max() <= 4


def test_odd_sizes_with_subsampled_chroma(tmp_path: Path) -> None:
    expected = [blocks(61, 77)]
    got = read_all(write_clip(tmp_path / "a.mkv", [yuv_frame(expected[0], "yuv420p")], "ffv1", "yuv420p"))
    assert np.abs(got[0].astype(int) - expected[0])[inside(61, 77)].max() <= 4


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", H264),
        ("a.mkv", "libx264", "yuv444p", H264),
        ("a.ts", "libx264", "yuv420p", H264),
        ("a.mp4", "libx265", "yuv420p10le", {"crf": "8", "x265-params": "log-level=none"}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"crf": "10", "b": "0"}),
        ("a.avi", "mpeg4", "yuv420p", {"qscale": "2", "flags": "+qscale"}),
        ("a.avi", "mjpeg", "yuvj420p", {"qscale": "2", "flags": "+qscale"}),
        ("a.mpg", "mpeg2video", "yuv420p", {"b": "4M"}),
        ("a.mov", "prores_ks", "yuv422p10le", {}),
    ],
)
def test_lossy_codecs_are_close(
    tmp_path: Path, pictures: list[Picture], name: str, codec: str, pixel_format: str, options: dict[str, str]
) -> None:
    rate = 25 if codec == "mpeg2video" else 10
    check_nearly(write_clip(tmp_path / name, pictures, codec, pixel_format, options=options, rate=rate), pictures, 6)


# --- Interlacing


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {**H264, "x264-params": "tff=1"}),
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme", "b": "6M"}),
        ("a.mov", "mpeg2video", {"flags": "+ildct+ilme", "b": "6M"}),
    ],
)
def test_interlaced_frames_are_like_progressive_ones(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    expected = [picture(96, 128, seed=index) for index in range(4)]
    path = write_clip(tmp_path / name, expected, codec, "yuv420p", options=options, rate=25)
    with av.open(str(path)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    check_nearly(path, expected, 5)


@pytest.mark.parametrize("name", ["a.dv", "a.avi", "a.mov"])
def test_dv(tmp_path: Path, name: str) -> None:
    expected = [picture(576, 720, seed=index) for index in range(2)]
    check_nearly(write_clip(tmp_path / name, expected, "dvvideo", "yuv420p", rate=25), expected, 5)


# --- Display matrices

ONE = 65536
ORIENTATIONS = [
    (a, b, c, d)
    for straight in (True, False)
    for first in (1, -1)
    for second in (1, -1)
    for a, b, c, d in [(first, 0, 0, second) if straight else (0, first, second, 0)]
]


def displayed(image: Picture, a: int, b: int, c: int, d: int) -> Picture:
    """Move each pixel (x, y) to (a x + c y, b x + d y), as the display matrix of QuickTime is defined."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = new_x - new_x.min(), new_y - new_y.min()
    result = np.zeros((new_y.max() + 1, new_x.max() + 1, 3), np.uint8)
    result[new_y, new_x] = image
    return result


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_all_orientations(tmp_path: Path, pictures: list[Picture], orientation: tuple[int, int, int, int]) -> None:
    a, b, c, d = (ONE * value for value in orientation)
    path = write_clip(tmp_path / "a.mov", pictures, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    check_exactly(path, [displayed(content, *orientation) for content in pictures])
    frames = VideoFrames(path)
    assert frames.size == (len(frames) and frames.size) == frames.read(0).shape[:2]


def test_other_angles_are_refused(tmp_path: Path, pictures: list[Picture]) -> None:
    turn = [round(ONE * value) for value in (0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0)]
    path = write_clip(tmp_path / "a.mov", pictures, matrix=[*turn, 1 << 30])
    with pytest.raises(FrameError, match="no multiple of 90 degrees"):
        len(VideoFrames(path))


# --- Times


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"), [("a.mov", "png", "rgb24"), ("a.mp4", "libx264", "yuv420p")]
)
def test_variable_frame_rate(tmp_path: Path, pictures: list[Picture], name: str, codec: str, pixel_format: str) -> None:
    times = [0, 1, 7, 8, 30, 100]
    options = H264 if codec == "libx264" else {}
    path = write_clip(
        tmp_path / name, pictures, codec, pixel_format, times=times, options=options, time_base=Fraction(1, 100)
    )
    frames = VideoFrames(path)
    assert frames.times == tuple(time / 100 for time in times)
    assert SelectedFrames(frames, every=2).times == (0.0, 0.07, 0.3)
    check_nearly(path, pictures, 6)


def test_frames_without_times(tmp_path: Path, pictures: list[Picture]) -> None:
    path = write_clip(tmp_path / "a.mpg", pictures, "mpeg2video", "yuv420p", rate=25)
    assert len(VideoFrames(path)) == 6


def test_edit_list(tmp_path: Path) -> None:
    """Frames before and after the edit are not shown."""
    pictures = [picture(48, 64, seed=index) for index in range(9)]
    path = write_clip(tmp_path / "a.mov", pictures, options={}, container={"use_editlist": "1"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        ticks = 1 / container.streams.video[0].time_base
    at = data.index(b"elst")
    assert int.from_bytes(data[at + 8 : at + 12], "big") == 1  # one entry
    data[at + 12 : at + 16] = (400).to_bytes(4, "big")  # 0.4 s, in the film's units of 1 ms
    data[at + 16 : at + 20] = round(2 * ticks / 10).to_bytes(4, "big")  # from frame 2 on
    path.write_bytes(data)
    check_exactly(path, pictures[2:6])
    assert VideoFrames(path).times == (0.0, 0.1, 0.2, 0.3)


# --- Streams


def test_largest_stream_that_is_no_cover_is_decoded(tmp_path: Path, pictures: list[Picture]) -> None:
    path = tmp_path / "a.mkv"
    preview = [content[::2, ::2].copy() for content in pictures]
    with av.open(str(path), "w") as output:
        streams = [open_stream(output, frames, "ffv1", "bgr0") for frames in (preview, pictures, preview)]
        for stream, frames in zip(streams, (preview, pictures, preview), strict=True):
            encode(output, stream, frames)
    check_exactly(path, pictures)


def test_cover_is_no_video(tmp_path: Path, pictures: list[Picture]) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        covers = [picture(192, 256)]
        cover = open_stream(output, covers, rate=1, disposition=av.stream.Disposition.attached_pic)
        movie = open_stream(output, pictures, "libx264", "yuv420p", options=H264)
        encode(output, movie, pictures)
        encode(output, cover, covers)
    check_nearly(path, pictures, 6)


def test_changing_frame_size_is_an_error(tmp_path: Path) -> None:
    parts = [
        write_clip(tmp_path / f"{size[0]}.mpg", [picture(*size)] * 5, "mpeg2video", "yuv420p", rate=25).read_bytes()
        for size in ((48, 64), (96, 128))
    ]
    path = tmp_path / "a.mpg"
    path.write_bytes(b"".join(parts))
    with pytest.raises(FrameError, match="changes its frame size from 64x48 to 128x96 pixels at frame 4"):
        len(VideoFrames(path))
    frames = VideoFrames(path)
    assert frames.read(3).shape == (48, 64, 3)
    with pytest.raises(FrameError, match="changes its frame size"):
        frames.read(5)


# --- Damage


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", H264),
        ("a.mkv", "libx264", H264),
        ("a.ts", "libx264", H264),
        ("a.avi", "mjpeg", {}),
        ("a.avi", "mpeg4", {}),
        ("a.webm", "libvpx-vp9", {"g": "8"}),
    ],
)
@pytest.mark.parametrize("size", [600, 2000])
def test_missing_frames_are_told_of_damaged_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str, options: dict[str, str], size: int
) -> None:
    pictures = [picture(96, 160, seed=index) for index in range(24)]
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / name, pictures, codec, pixel_format, options=options)
    whole = VideoFrames(path)
    assert len(whole) == 24
    assert not caplog.records
    times = whole.times
    data = bytearray(path.read_bytes())
    at = int(len(data) * 0.4)
    data[at : at + size] = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    frames = VideoFrames(path)
    with caplog.at_level(logging.WARNING):
        count = len(frames)
    assert 0 < count <= 24
    if count < 24:
        (record,) = caplog.records
        assert f"{24 - count} of its 24 frames cannot be decoded" in record.getMessage()
    else:
        assert "frames may be wrong" in caplog.text
    caplog.clear()
    part = VideoFrames(path, at_most=20)
    if len(part) == 20 and part.times != times[:20] and codec != "mpeg4":
        assert "cannot be decoded" in caplog.text
    assert times is not None
    assert frames.times is not None
    assert set(frames.times) <= set(times)
    got = [frames.read(index) for index in range(count)]
    np.testing.assert_array_equal(VideoFrames(path).read(count - 1), got[-1])  # the same frames each time
    with pytest.raises(FrameError, match=f"ends after {count} frames"):
        frames.read(count)


def test_sound_files_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures = [picture(48, 64, seed=index) for index in range(8)]
    gaps = [0, 1, 2, 3, 20, 21, 22, 60]
    for name in ("a.mp4", "b.mkv"):
        len(VideoFrames(write_clip(tmp_path / name, pictures, "libx264", "yuv420p", times=gaps, options=H264)))
    assert not caplog.records


# --- Files that are opened


@pytest.mark.parametrize("name", ["12:30.mov", "caf\udce9.mov", "new\nline.mov", "http:x.mov", "%03d.mov"])
def test_any_file_name(tmp_path: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_clip(tmp_path / "a.mov", pictures).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    check_exactly(Path(name), pictures)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile a.mov\n",
        "ffconcat version 1.0\nfile {path}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{path}</BaseURL></MPD>',
        "v=0\nm=video 0 RTP/AVP 96\n",
    ],
)
def test_playlists_are_not_followed(tmp_path: Path, pictures: list[Picture], text: str) -> None:
    path = write_clip(tmp_path / "a.mov", pictures)
    (tmp_path / "list.mp4").write_text(text.format(path=path))
    with pytest.raises(FrameError, match=r"cannot open video .*list\.mp4"):
        len(VideoFrames(tmp_path / "list.mp4"))


@pytest.mark.parametrize("tail", [b"text\n" * 30, b"\0" * 100, b"PK\x03\x04" + bytes(60), b"\xff" * 9, b"a"])
def test_bytes_after_an_mp4_are_ignored(tmp_path: Path, pictures: list[Picture], tail: bytes) -> None:
    path = write_clip(tmp_path / "a.mov", pictures)
    path.write_bytes(path.read_bytes() + tail)
    check_exactly(path, pictures)


# --- Digests


def test_digest_of_an_ordinary_video_is_that_of_earlier_versions(tmp_path: Path, pictures: list[Picture]) -> None:
    """Digests do not change between versions, so that caches stay valid."""
    import hashlib

    path = write_clip(tmp_path / "a.mp4", pictures, "libx264", "yuv420p", options=H264)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = hashlib.sha256(f"ted video file\n{content}\n0,1,2,3,4,5\n".encode()).hexdigest()
    assert VideoFrames(path).digest() == expected


def test_digest_tells_what_earlier_versions_decoded_otherwise(tmp_path: Path, pictures: list[Picture]) -> None:
    """Files that differ only in the display matrix have different digests, so features are not reused."""
    import hashlib

    path = write_clip(tmp_path / "a.mov", pictures, matrix=[ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30])
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    plain = hashlib.sha256(f"ted video file\n{content}\n0,1,2,3,4,5\n".encode()).hexdigest()
    assert VideoFrames(path).digest() != plain
