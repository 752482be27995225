"""Reading frames: image files, video files, selections, sizes, pixels."""

import io
import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ted.extract.frames import (
    FrameSize,
    FrameSource,
    ImageFrames,
    SelectedFrames,
    VideoFrames,
    processed_size,
    to_pixels,
)
from ted.extract.truncation import image_is_truncated, video_is_truncated
from ted.store.errors import ConfigError, FrameError

Picture = npt.NDArray[np.uint8]


def picture(height: int = 40, width: int = 56, seed: int = 0) -> Picture:
    """Smooth colours, so that lossy codecs stay close."""
    grid = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def write_frames(folder: Path, pictures: Sequence[Picture], suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:05d}{suffix}" for i in range(len(pictures))]
    for path, content in zip(paths, pictures, strict=True):
        Image.fromarray(content).save(path)
    return paths


def write_video(path: Path, pictures: Sequence[Picture], code: str = "MJPG") -> Path:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (width, height))
    assert writer.isOpened()
    for content in pictures:
        writer.write(np.ascontiguousarray(content[..., ::-1]))
    writer.release()
    return path


# --- image files


@pytest.mark.parametrize("count", [1, 2, 3])
def test_images_are_read_as_they_are(tmp_path: Path, count: int) -> None:
    pictures = [picture(seed=i) for i in range(count)]
    frames: FrameSource = ImageFrames(write_frames(tmp_path, pictures))
    assert len(frames) == count
    assert frames.names == ("00000", "00001", "00002")[:count]
    assert frames.size == (40, 56)
    for i, expected in enumerate(pictures):
        assert frames.read(i).dtype == np.uint8
        np.testing.assert_array_equal(frames.read(i), expected)


def test_portrait_and_odd_sizes_keep_height_and_width_apart(tmp_path: Path) -> None:
    frames = ImageFrames(write_frames(tmp_path, [picture(97, 53)]))
    assert frames.size == (97, 53)
    assert frames.read(0).shape == (97, 53, 3)


def test_names_may_have_spaces_and_dots(tmp_path: Path) -> None:
    path = tmp_path / "my frame 1.5.png"
    Image.fromarray(picture()).save(path)
    frames = ImageFrames([path])
    assert frames.names == ("my frame 1.5",)
    np.testing.assert_array_equal(frames.read(0), picture())


def test_grayscale_becomes_three_equal_channels(tmp_path: Path) -> None:
    gray = picture()[..., 1]
    Image.fromarray(gray).save(tmp_path / "a.png")
    np.testing.assert_array_equal(ImageFrames([tmp_path / "a.png"]).read(0), np.dstack([gray] * 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, channels: int) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = values if channels == 1 else np.dstack([values, values[::-1], values.T])
    cv2.imwrite(str(tmp_path / "a.png"), image)
    expected = np.rint(np.dstack([values] * 3) / 257) if channels == 1 else np.rint(image[..., ::-1] / 257)
    np.testing.assert_array_equal(ImageFrames([tmp_path / "a.png"]).read(0), expected)


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (40, 56, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([picture(), alpha], axis=-1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(ImageFrames([tmp_path / "a.png"]).read(0), picture())


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turns: int) -> None:
    image = Image.fromarray(picture())
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image.save(tmp_path / "plain.jpg", quality=95)
    frames = ImageFrames([tmp_path / "a.jpg"])
    expected = np.rot90(ImageFrames([tmp_path / "plain.jpg"]).read(0), turns)
    np.testing.assert_array_equal(frames.read(0), expected)
    assert frames.size == expected.shape[:2]
    frames.digest()  # which compares the size that the header states with that of the pixels


@pytest.mark.parametrize("first_call", ["read", "digest"])
def test_frames_of_another_size_are_refused_naming_the_first(tmp_path: Path, first_call: str) -> None:
    paths = write_frames(tmp_path, [picture(), picture(), picture(56, 40), picture(10, 10)])
    frames = ImageFrames(paths)
    with pytest.raises(FrameError, match=r"00002\.png is 40x56 .* 00000\.png is 56x40"):
        frames.digest() if first_call == "digest" else [frames.read(i) for i in range(4)]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_truncated_images_are_refused_wherever_they_were_cut(tmp_path: Path, suffix: str) -> None:
    (path,) = write_frames(tmp_path / "whole", [picture(200, 300)], suffix)
    data = path.read_bytes()
    ImageFrames([path]).read(0)
    cut = tmp_path / f"cut{suffix}"
    for length in [0, 1, 5, 60, *range(len(data) // 5, len(data) - 4, len(data) // 5), len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(FrameError, match="cut"):
            ImageFrames([cut]).read(0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_every_cut_of_an_image_is_noticed_before_decoding(tmp_path: Path, suffix: str) -> None:
    (path,) = write_frames(tmp_path, [picture(12, 9)], suffix)
    data = path.read_bytes()
    assert not image_is_truncated(data)
    assert all(image_is_truncated(data[:length]) for length in range(12, len(data)))


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_end_is_not_taken_from_a_thumbnail_nor_from_padding(tmp_path: Path, progressive: bool) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(picture(16, 16)).save(thumbnail, "JPEG")
    image = io.BytesIO()
    restarts = {} if progressive else {"restart_marker_blocks": 4}
    Image.fromarray(picture(200, 300)).save(
        image, "JPEG", comment=thumbnail.getvalue(), progressive=progressive, **restarts
    )
    path = tmp_path / "a.jpg"
    data = image.getvalue()
    assert data.count(b"\xff\xd9") == 2
    path.write_bytes(data + b"trailing bytes")
    ImageFrames([path]).read(0)
    # A crash can leave a file of the right length whose end was never written.
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with pytest.raises(FrameError, match=r"a\.jpg is truncated"):
        ImageFrames([path]).digest()


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    (path,) = write_frames(tmp_path, [picture()])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(FrameError, match=r"cannot decode frame .*00000\.png"):
        ImageFrames([path]).read(0)
    with pytest.raises(FrameError, match=r"cannot read frame .*gone\.png"):
        ImageFrames([tmp_path / "gone.png"]).read(0)
    with pytest.raises(FrameError, match="cannot read frame"):
        ImageFrames([tmp_path]).read(0)
    (tmp_path / "b.jpg").write_text("not an image at all")
    with pytest.raises(FrameError, match=r"cannot decode frame .*b\.jpg"):
        ImageFrames([tmp_path / "b.jpg"]).read(0)


def test_floating_point_images_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), picture().astype(np.float32))
    with pytest.raises(FrameError, match="float32"):
        ImageFrames([tmp_path / "a.tiff"]).read(0)


def test_no_images_and_names_that_repeat_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="at least one frame"):
        ImageFrames([])
    with pytest.raises(FrameError, match=r"two frames are named 'a'.*a\.png.*a\.jpg"):
        ImageFrames([tmp_path / "a.png", tmp_path / "a.jpg"])


def test_image_digest_depends_on_content_and_order_alone(tmp_path: Path) -> None:
    paths = write_frames(tmp_path / "a", [picture(seed=i) for i in range(3)])
    digest = ImageFrames(paths).digest()
    other = [path.rename(tmp_path / f"renamed {i}.png") for i, path in enumerate(paths)]
    assert ImageFrames(other).digest() == digest
    assert ImageFrames(other[::-1]).digest() != digest
    assert ImageFrames(other[:2]).digest() == ImageFrames(other).digest([0, 1]) != digest
    Image.fromarray(picture(seed=9)).save(other[1])
    assert ImageFrames(other).digest() != digest


# --- video files


@pytest.fixture
def pictures() -> list[Picture]:
    return [picture(48, 64, seed=i) for i in range(7)]


@pytest.fixture
def avi(tmp_path: Path, pictures: list[Picture]) -> Path:
    return write_video(tmp_path / "clip.avi", pictures)


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
    def refuse(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(cv2, "VideoCapture", refuse)
    monkeypatch.setattr(cv2, "imdecode", refuse)
    SelectedFrames(VideoFrames(avi), every=2)
    ImageFrames([avi.with_suffix(".png")])


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


# --- selection


@pytest.mark.parametrize(
    ("every", "limit", "expected"),
    [
        (1, None, range(7)),
        (2, None, [0, 2, 4, 6]),
        (3, 2, [0, 3]),
        (1, 3, [0, 1, 2]),
        (9, 5, [0]),
        (2, 50, [0, 2, 4, 6]),
    ],
)
def test_selection_takes_every_nth_then_the_first_few(
    tmp_path: Path, pictures: list[Picture], every: int, limit: int | None, expected: Sequence[int]
) -> None:
    source = ImageFrames(write_frames(tmp_path, pictures))
    frames: FrameSource = SelectedFrames(source, every, limit)
    assert len(frames) == len(expected)
    assert frames.names == tuple(f"{i:05d}" for i in expected)
    assert frames.size == source.size
    for position, index in enumerate(expected):
        np.testing.assert_array_equal(frames.read(position), pictures[index])
    with pytest.raises(IndexError):
        frames.read(len(expected))


def test_selection_is_part_of_the_digest(tmp_path: Path, pictures: list[Picture], avi: Path) -> None:
    paths = write_frames(tmp_path / "frames", pictures)
    images, video = ImageFrames(paths), VideoFrames(avi)
    for source in (images, video):
        choices = [(1, None), (2, None), (1, 3), (2, 2), (3, None)]
        digests = [SelectedFrames(source, every, limit).digest() for every, limit in choices]
        assert len(set(digests)) == len(digests)
        assert digests[0] == source.digest()
    # The same frames are the same, however they were chosen.
    assert SelectedFrames(images, 2, 2).digest() == ImageFrames([paths[0], paths[2]]).digest()
    assert SelectedFrames(SelectedFrames(video, 2), 2).digest() == SelectedFrames(video, 4).digest()
    assert SelectedFrames(images, 3).digest([1]) == ImageFrames([paths[3]]).digest()


@pytest.mark.parametrize(("every", "limit"), [(0, None), (-1, None), (1, 0)])
def test_selections_of_nothing_are_refused(tmp_path: Path, every: int, limit: int | None) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        SelectedFrames(ImageFrames([tmp_path / "a.png"]), every, limit)


# --- sizes and pixels


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((480, 854), "480", (480, 832)),
        ((240, 432), "480", (480, 864)),
        ((854, 480), "480", (832, 480)),
        ((1080, 1920), "480", (480, 832)),
        ((500, 500), "480", (480, 480)),
        ((500, 501), "480", (480, 480)),
        ((480, 854), "320x448", (320, 448)),
        ((33, 17), "32", (32 * 33 // 17 // 32 * 32, 32)),
        ((10, 1000), "32", (32, 3200)),
    ],
)
def test_processed_size_follows_dift(size: tuple[int, int], rule: str, expected: tuple[int, int]) -> None:
    assert processed_size(size, FrameSize.parse(rule)) == expected


def test_processed_size_is_a_multiple_of_at_least_one() -> None:
    for height, width in itertools.product(range(1, 90, 7), repeat=2):
        result = processed_size((height, width), FrameSize(short_side=64), 64)
        assert min(result) == 64
        assert max(result) % 64 == 0
        assert (result[0] > result[1]) <= (height > width)


def test_sizes_that_the_backbone_cannot_take_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"500 is not a multiple of 32.*use 480 or 512"):
        processed_size((480, 854), FrameSize.parse("500"))
    with pytest.raises(ConfigError, match=r"320x450 .*use 320x448 or 320x480"):
        processed_size((480, 854), FrameSize.parse("320x450"))
    with pytest.raises(ConfigError, match=r"use 64$"):
        processed_size((480, 854), FrameSize.parse("20"), 64)


@pytest.mark.parametrize("text", ["480", "320x448"])
def test_frame_size_text_goes_there_and_back(text: str) -> None:
    assert str(FrameSize.parse(text)) == text
    assert FrameSize.parse(text.replace("x", " X ")) == FrameSize.parse(text)


@pytest.mark.parametrize("text", ["", "0", "-480", "480p", "320x", "0x320", "1.5", "320x320x3"])
def test_frame_sizes_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="frame size"):
        FrameSize.parse(text)


def test_a_frame_size_is_one_rule() -> None:
    for arguments in ({}, {"short_side": 480, "exact": (480, 480)}):
        with pytest.raises(ConfigError, match="either"):
            FrameSize(**arguments)


def test_pixels_are_those_of_dift() -> None:
    frame = picture(48, 86, seed=3)
    pixels = to_pixels(frame, (32, 64))
    assert pixels.shape == (3, 32, 64)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    # DIFT resizes the 8-bit BGR image, reverses its channels, divides by 255, subtracts 0.5 and divides by 0.5.
    bgr = cv2.resize(np.ascontiguousarray(frame[..., ::-1]), (64, 32))
    expected = ((bgr[..., ::-1].astype(np.float64) / 255) - 0.5) / 0.5
    np.testing.assert_allclose(pixels, expected.transpose(2, 0, 1), atol=1e-6)
    extremes = to_pixels(np.array([[[0, 255, 255]]], dtype=np.uint8), (1, 1))
    assert extremes.ravel().tolist() == [-1, 1, 1]


def test_davis_frames(shared: Path) -> None:
    folder = shared / "data/davis-mini/JPEGImages/480p/dogs-jump"
    frames = ImageFrames(sorted(folder.glob("*.jpg")))
    assert (len(frames), frames.size) == (66, (240, 432))
    np.testing.assert_array_equal(frames.read(7), cv2.imread(str(folder / "00007.jpg"))[..., ::-1])
    assert len(SelectedFrames(frames, 5).digest()) == 64
