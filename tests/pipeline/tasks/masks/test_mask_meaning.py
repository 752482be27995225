"""What mask files mean: what is an object, what is refused, and what is left out with a message."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.datasets.masks_io import MaskSequence, first_appearances, read_annotated_mask, read_mask
from ted.store.errors import LabelError

SIZE = (96, 160)


def objects(box: int, disc: int) -> NDArray[np.uint8]:
    """A box of 36x32 pixels and a disc of radius 20, drawn with these values."""
    ids = np.zeros(SIZE, np.uint8)
    cv2.circle(ids, (120, 68), 20, disc, -1)
    ids[12:44, 20:56] = box
    return ids


BOTH = objects(1, 1) > 0


def save(path: Path, pixels: NDArray[np.generic], palette: list[int] | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("pixels", "palette"),
    [
        (np.where(BOTH, 255, 0).astype(np.uint8), None),
        (np.where(BOTH, 65535, 0).astype(np.uint16), None),
        (np.where(BOTH, 1, 0).astype(np.uint8), None),
        (BOTH, None),  # one bit
        (np.where(BOTH, 1, 0).astype(np.uint8), [0, 0, 0, 255, 255, 255]),
        (np.where(BOTH, 0, 1).astype(np.uint8), [255, 255, 255, 0, 0, 0]),  # white is index 0
        (np.where(BOTH, 0, 7).astype(np.uint8), [200, 30, 30, *[9] * 18, 0, 0, 0]),
        (np.where(BOTH, 1, 0).astype(np.uint8), [255, 255, 255, 220, 0, 0]),  # red on white
        (np.where(BOTH, 255, 0).astype(np.uint8)[..., None].repeat(3, 2), None),
        (np.dstack([np.full((*SIZE, 3), 255), np.where(BOTH, 255, 0)]).astype(np.uint8), None),  # object in alpha
        (np.dstack([np.zeros((*SIZE, 3)), np.where(BOTH, 255, 0)]).astype(np.uint8), None),
        (np.dstack([np.full(SIZE, 90), np.where(BOTH, 255, 0)]).astype(np.uint8), None),
        (np.dstack([np.where(BOTH, 255, 0)] * 3 + [np.full(SIZE, 255)]).astype(np.uint8), None),
    ],
    ids=[
        "0 and 255", "16 bits", "0 and 1", "one bit", "black and white palette", "white is index 0", "black is index 7",
        "red on white", "grey RGB", "alpha over white", "alpha over black", "grey with alpha", "opaque",
    ],
)  # fmt: skip
def test_one_object(tmp_path: Path, pixels: NDArray[np.generic], palette: list[int] | None) -> None:
    path = save(tmp_path / "a.png", pixels, palette)
    mask = read_annotated_mask(path, SIZE)
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        assert np.unique(mask).tolist() == [0, 90]  # a level of grey is a number
    np.testing.assert_array_equal(mask > 0, BOTH)
    assert pixels.ndim == 3 or set(np.unique(mask).tolist()) == {0, 1}


@pytest.mark.parametrize("bits", [2, 4])
def test_the_largest_of_few_bits_is_one_object(tmp_path: Path, bits: int) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    row = b"\0" + bytes([255] * (bits // 2) + [0] * (bits - bits // 2))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )
    assert read_annotated_mask(tmp_path / "a.png", (1, 8)).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_levels_stretched_to_16_bits_come_back(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", objects(3, 7).astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_mask(path), objects(3, 7))


def soft(scale: int, interpolation: int) -> NDArray[np.uint8]:
    small = cv2.resize(objects(255, 255), (SIZE[1] // scale, SIZE[0] // scale), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, SIZE[::-1], interpolation=interpolation).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        cv2.GaussianBlur(objects(255, 255), (5, 5), 0),
        cv2.GaussianBlur(objects(255, 255), (31, 31), 0),
        cv2.GaussianBlur(objects(127, 255), (3, 3), 0),
        soft(2, cv2.INTER_LINEAR),
        soft(4, cv2.INTER_CUBIC),
        cv2.resize(cv2.resize(objects(200, 200), (320, 192)), SIZE[::-1], interpolation=cv2.INTER_AREA),
        cv2.GaussianBlur(objects(30, 30), (5, 5), 0),
        cv2.imdecode(cv2.imencode(".jpg", objects(255, 255))[1], 0),
    ],
    ids=[
        "blurred",
        "blurred widely",
        "two objects blurred",
        "bilinear",
        "bicubic",
        "there and back",
        "small numbers",
        "JPEG",
    ],
)
def test_interpolated_masks_are_refused(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    path = save(tmp_path / "a.png", pixels.astype(np.uint8))
    with pytest.raises(LabelError, match=r"a\.png was interpolated: \d+ pixels have one of \d+ values that occur"):
        read_mask(path)
    save(tmp_path / "b.png", pixels.astype(np.uint16) * 257)  # stretched
    save(tmp_path / "c.png", pixels.astype(np.uint8), [level for index in range(256) for level in (index,) * 3])
    for name in ("b.png", "c.png"):
        with pytest.raises(LabelError, match="was interpolated"):
            read_mask(tmp_path / name)


def test_numbers_beside_void_contours_are_not_taken_for_interpolation(tmp_path: Path) -> None:
    """As in PASCAL VOC: every object, some of them slivers, has a contour of 255."""
    ids = np.zeros(SIZE, np.uint8)
    for number in range(1, 9):
        ids[10 : 12 + number // 4 * 20, 18 * number : 18 * number + 4] = 255
        ids[10 : 12 + number // 4 * 20, 18 * number + 1 : 18 * number + 3] = number
    for palette in (None, list(range(256)) * 3):
        np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", ids, palette)), ids)


def test_many_objects_and_slivers_are_not_taken_for_interpolation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 250, (12, 20)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", blocks)), blocks)
    slivers = objects(9, 20)
    for number in range(1, 8):  # one pixel wide, between the background and the box
        slivers[12:44, 19] = slivers[12 + 4 * number : 16 + 4 * number, 19] = number
    np.testing.assert_array_equal(read_mask(save(tmp_path / "b.png", slivers)), slivers)


def test_void_beside_numbers_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.png", objects(127, 255))
    with caplog.at_level(logging.WARNING):
        mask = read_annotated_mask(path, SIZE)
    assert np.unique(mask).tolist() == [0, 127]
    left_out = int((objects(127, 255) == 255).sum())
    assert f"a.png: {left_out} pixels of value 255 are left out" in caplog.text


@pytest.mark.parametrize(
    ("pixels", "palette", "message"),
    [
        (objects(1, 2), [255, 255, 255, 0, 0, 0, 200, 0, 0], "index 0 is not black, while index 1 is"),
        (
            np.dstack([np.full((*SIZE, 3), 255), cv2.GaussianBlur(objects(255, 255), (9, 9), 0)]).astype(np.uint8),
            None,
            r"an alpha channel with \d+ levels",
        ),
    ],
    ids=["three colours, black is index 1", "soft alpha"],
)
def test_what_is_unclear_is_refused(
    tmp_path: Path, pixels: NDArray[np.uint8], palette: list[int] | None, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        read_mask(save(tmp_path / "a.png", pixels, palette))


def test_the_first_mask_of_a_video_says_what_255_is(tmp_path: Path) -> None:
    paths = {str(frame): tmp_path / f"{frame}.png" for frame in range(3)}
    save(paths["0"], objects(255, 255))
    save(paths["1"], objects(255, 0))
    save(paths["2"], np.zeros(SIZE, np.uint8))
    binary = MaskSequence(paths)
    assert [np.unique(binary.read(name)).tolist() for name in paths] == [[0, 1], [0, 1], [0]]
    save(paths["0"], objects(1, 2))
    numbered = MaskSequence(paths)
    assert [np.unique(numbered.read(name)).tolist() for name in paths] == [[0, 1, 2], [0], [0]]


def test_first_appearances(tmp_path: Path) -> None:
    paths = {str(frame): tmp_path / f"{frame}.png" for frame in range(3)}
    for name, ids in zip(paths, (objects(2, 0), objects(2, 5), objects(0, 5)), strict=True):
        save(paths[name], ids)
    assert first_appearances(paths) == {2: "0", 5: "1"}
    save(paths["0"], objects(2, 5))  # files that changed are read again
    assert first_appearances(paths) == {2: "0", 5: "0"}
