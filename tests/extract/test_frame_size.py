"""Convert frames to a backbone's input pixels."""

import itertools

import cv2
import numpy as np
import pytest

from ted.extract.frames import (
    FrameSize,
    processed_size,
    to_pixels,
)
from ted.store.errors import ConfigError

from .pictures import picture


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


@pytest.mark.parametrize(
    ("multiple", "size", "expected"),
    [
        (32, (480, 854), (480, 832)),
        (16, (480, 854), (480, 848)),
        (14, (480, 854), (476, 840)),  # 476 * 854 / 480 is 846.9
        (14, (1920, 1080), (840, 476)),
        (64, (480, 854), (448, 768)),
        (512, (480, 854), (512, 512)),  # no multiple is below 480
    ],
)
def test_the_default_is_480_or_the_nearest_below(
    multiple: int, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert processed_size(size, None, multiple) == processed_size(size, multiple=multiple) == expected


@pytest.mark.parametrize(
    ("multiple", "rule", "expected"),
    [
        (64, "~560", (576, 1024)),  # 576 * 854 / 480 is 1024.8: floored to 1024
        (32, "~560x560", (576, 576)),  # half-way rounds up
        (14, "~560", (560, 994)),
        (8, "~560x560", (560, 560)),
        (64, "~10x90", (64, 64)),
    ],
)
def test_the_nearest_size_that_a_backbone_takes(multiple: int, rule: str, expected: tuple[int, int]) -> None:
    size = FrameSize.parse(rule)
    assert str(size) == rule
    assert processed_size((480, 854), size, multiple) == expected


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
