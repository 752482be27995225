"""Reading masks."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.masks_io import read_annotated_mask, read_mask
from ted.pipeline.tasks.masks.png import write_mask
from ted.store.errors import LabelError

IDS = np.random.default_rng(0).integers(0, 4, (10, 13)).astype(np.uint8)


def png(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """A PNG of raw rows: width, height, bit depth, colour type."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_palette_indices_are_kept_whatever_the_colours(tmp_path: Path) -> None:
    same_colours = np.zeros((256, 3), dtype=np.uint8)
    for palette in (None, same_colours):
        write_mask(tmp_path / "a.png", IDS, palette)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), IDS)
    image = Image.fromarray(IDS)
    image.putpalette(bytes(range(12)))  # four colours: two bits a pixel
    image.save(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes()[24] == 2
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), IDS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grayscale_values_are_kept(tmp_path: Path, dtype: type[np.integer]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), IDS.astype(dtype))
    mask = read_mask(tmp_path / "a.png", (10, 13))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, IDS)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grayscale_of_few_bits_is_not_stretched(tmp_path: Path, depth: int) -> None:
    values = np.arange(8, dtype=np.uint8).reshape(1, 8) % 2**depth
    bits = "".join(format(value, f"0{depth}b") for value in values[0])
    row = b"\0" + int(bits, 2).to_bytes(depth, "big")
    (tmp_path / "a.png").write_bytes(png((8, 1, depth, 0), row))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), values)


def test_colour_is_refused_unless_it_is_gray(tmp_path: Path) -> None:
    gray = np.dstack([IDS] * 3)
    opaque = np.full((10, 13, 1), 128, dtype=np.uint8)
    for array in (gray, np.dstack([gray, opaque]), np.dstack([IDS[..., None], opaque])):
        Image.fromarray(array).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), IDS)
    gray[3, 3, 2] += 1
    Image.fromarray(gray).save(tmp_path / "a.png")
    with pytest.raises(LabelError, match=r"a\.png is a colour image: save it as a palette or grayscale PNG"):
        read_mask(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([IDS.astype(np.uint16)] * 3))
    with pytest.raises(LabelError, match="colour image"):
        read_mask(tmp_path / "a.png")


def test_more_than_255_objects_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), IDS.astype(np.uint16) * 100)
    with pytest.raises(LabelError, match=r"a\.png has values up to 300, and object numbers are below 255"):
        read_mask(tmp_path / "a.png")


def test_unreadable_masks_are_refused(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "a.png", IDS)
    data = path.read_bytes()
    for length in (*range(8, len(data), 11), len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(LabelError, match=r"a\.png is truncated"):
            read_mask(path)
    path.write_bytes(png((13, 10, 8, 0), bytes(20)))
    with pytest.raises(LabelError, match=r"cannot decode mask .*a\.png"):
        read_mask(path)
    with pytest.raises(LabelError, match=r"cannot read mask .*gone\.png"):
        read_mask(tmp_path / "gone.png")
    Image.fromarray(IDS).save(tmp_path / "a.jpg")
    with pytest.raises(LabelError, match=r"a\.jpg is not a PNG"):
        read_mask(tmp_path / "a.jpg")


def test_first_mask_needs_an_object_and_void_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    ids = IDS.copy()
    ids[0] = 255
    write_mask(path, ids)
    mask = read_annotated_mask(path, (10, 13))
    np.testing.assert_array_equal(mask[1:], IDS[1:])
    assert not mask[0].any()
    write_mask(path, np.where(IDS > 1, 255, 0))
    np.testing.assert_array_equal(read_annotated_mask(path, (10, 13)), IDS > 1)
    write_mask(path, np.zeros_like(IDS))
    with pytest.raises(LabelError, match=r"a\.png: the mask holds no object"):
        read_annotated_mask(path, (10, 13))


def test_davis_annotations_are_read_as_pillow_reads_them(shared: Path) -> None:
    for path in sorted((shared / "data/davis-mini/Annotations/480p/dogs-jump").glob("*.png"))[::20]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_mask(path, (240, 432)), np.asarray(image))
