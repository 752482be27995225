"""Frames that are image files, and selections of frames."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ted.extract.frames import FrameSource, ImageFrames, SelectedFrames, VideoFrames
from ted.extract.truncation import image_is_truncated
from ted.store.errors import ConfigError, FrameError

from .pictures import Picture, picture, write_frames

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


def test_davis_frames(shared: Path) -> None:
    folder = shared / "data/davis-mini/JPEGImages/480p/dogs-jump"
    frames = ImageFrames(sorted(folder.glob("*.jpg")))
    assert (len(frames), frames.size) == (66, (240, 432))
    np.testing.assert_array_equal(frames.read(7), cv2.imread(str(folder / "00007.jpg"))[..., ::-1])
    assert len(SelectedFrames(frames, 5).digest()) == 64


def test_an_image_that_changes_after_it_was_hashed_is_refused(tmp_path: Path) -> None:
    for i, seed in enumerate((1, 2)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
            tmp_path / f"{i}.png"
        )
    frames = ImageFrames(sorted(tmp_path.glob("*.png")))
    frames.digest()
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    frames.read(0)
    with pytest.raises(FrameError, match=r"1\.png has changed"):
        frames.read(1)
