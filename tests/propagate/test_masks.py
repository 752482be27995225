import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.nn import functional

from ted.propagate.targets.masks import _stretch, _stretch_all, decode_mask, encode_mask
from ted.store.errors import LabelError


def ids(rows: list[list[int]], dtype: type = np.uint8) -> npt.NDArray[Any]:
    return np.array(rows, dtype=dtype)


def test_encode_by_hand() -> None:
    encoded = encode_mask(ids([[0, 0, 7, 7], [0, 3, 7, 7]]), (2, 4))
    assert encoded.object_ids == (3, 7)
    assert encoded.label.dtype == torch.float32
    assert encoded.label.tolist() == [
        [[1, 1, 0, 0], [1, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 0, 0]],
        [[0, 0, 1, 1], [0, 0, 1, 1]],
    ]


@pytest.mark.parametrize("size", [(240, 432), (480, 854), (37, 53)])
@pytest.mark.parametrize("grid", [(30, 54), (60, 107), (7, 11)])
def test_encode_samples_as_pil_and_torchs_nearest_exact_do(size: tuple[int, int], grid: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 5, size).astype(np.int32)
    encoded = encode_mask(mask, grid)
    sampled = torch.tensor([0, *encoded.object_ids])[encoded.label.argmax(0)]
    pil = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(grid[::-1], Image.Resampling.NEAREST))
    exact = functional.interpolate(torch.from_numpy(mask)[None, None].float(), size=grid, mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(sampled.numpy(), pil)
    # A cell's centre that lies exactly between two pixels is a matter of rounding, unless the ratio is a whole number.
    doubtful = [
        ((2 * np.arange(cells) + 1) * pixels % (2 * cells) == 0) & (pixels % cells != 0)
        for pixels, cells in zip(size, grid, strict=True)
    ]
    clear = torch.from_numpy(~(doubtful[0][:, None] | doubtful[1]))
    assert clear.float().mean() > 0.7
    assert torch.equal(sampled[clear], exact[clear].long())
    assert torch.equal(encoded.label.sum(0), torch.ones(grid))


def test_void_is_background_beside_other_ids() -> None:
    encoded = encode_mask(ids([[0, 2], [255, 2]]), (2, 2))
    assert encoded.object_ids == (2,)
    assert encoded.label[0].tolist() == [[1, 0], [1, 0]]


def test_a_mask_of_0_and_255_is_binary() -> None:
    encoded = encode_mask(ids([[0, 255], [255, 255]]), (2, 2))
    assert encoded.object_ids == (1,)
    assert encoded.label[1].tolist() == [[0, 1], [1, 1]]


def test_254_objects_fit() -> None:
    mask = np.arange(255).reshape(15, 17)
    encoded = encode_mask(mask, (15, 17))
    assert encoded.object_ids == tuple(range(1, 255))
    result = decode_mask(encoded.label, encoded.object_ids, frame_size=(15, 17), size=(15, 17))
    np.testing.assert_array_equal(result, mask)


def test_a_vanishing_object_keeps_a_zero_channel_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 4
    mask[30, 30] = 9
    with caplog.at_level(logging.WARNING):
        encoded = encode_mask(mask, (4, 4))
    assert "[9]" in caplog.text
    assert encoded.object_ids == (4, 9)
    assert encoded.label[2].sum() == 0
    result = decode_mask(encoded.label, encoded.object_ids, frame_size=(40, 40), size=(40, 40))
    assert set(np.unique(result)) == {0, 4}


def test_the_given_mask_is_not_changed() -> None:
    mask = ids([[0, 255], [3, 3]])
    encode_mask(mask, (2, 2))
    assert mask.tolist() == [[0, 255], [3, 3]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 4), np.uint8), "no object"),
        (np.ones((4, 4, 3), np.uint8), "two-dimensional"),
        (np.ones((4, 4), np.float32), "integer"),
        (np.ones((0, 4), np.uint8), "two-dimensional"),
        (np.full((4, 4), 256), "1..254"),
        (np.full((4, 4), -1), "1..254"),
        (np.arange(400).reshape(20, 20), "1..254"),
    ],
)
def test_unusable_masks_are_refused(mask: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        encode_mask(mask, (2, 2))


def test_decode_by_hand() -> None:
    # Per channel, minimum to 0 and maximum to 1: the weak object wins where the background is at its lowest.
    label = torch.tensor([[[0.9, 0.9, 0.7, 0.7]], [[0.1, 0.1, 0.3, 0.2]]])
    result = decode_mask(label, (6,), frame_size=(1, 4), size=(1, 4))
    # background: 1 1 0 0; object: 0 0 1 0.5
    assert result.dtype == np.uint8
    assert result.tolist() == [[0, 0, 6, 6]]


def test_decode_enlarges_bilinearly_to_the_processed_frame_first() -> None:
    label = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    # 1 x 2 to 1 x 8, half-pixel centres: background 1 1 .875 .625 .375 .125 0 0; then every second pixel's neighbour.
    assert decode_mask(label, (1,), frame_size=(1, 8), size=(1, 8)).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    large = decode_mask(label, (1,), frame_size=(1, 8), size=(2, 4))
    pil = Image.fromarray(ids([[0, 0, 0, 0, 1, 1, 1, 1]])).resize((4, 2), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(large, np.asarray(pil))


def test_equal_channels_go_to_the_lower() -> None:
    label = torch.tensor([[[0.0, 1.0, 1.0]], [[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]])
    assert decode_mask(label, (1, 2), frame_size=(1, 3), size=(1, 3)).tolist() == [[0, 0, 0]]


def test_a_constant_positive_channel_becomes_ones_even_with_rounding() -> None:
    noise = 1 + 1e-7 * torch.arange(16.0).reshape(1, 4, 4)
    full = torch.cat([torch.zeros(1, 4, 4), noise])
    assert (decode_mask(full, (5,), frame_size=(64, 64), size=(64, 64)) == 5).all()
    # Against a background that is 1 somewhere, a constant 0.2 wins or ties everywhere else.
    label = torch.tensor([[[1.0, 0.5, 0.0]], [[0.2, 0.2, 0.2]]])
    assert decode_mask(label, (5,), frame_size=(1, 3), size=(1, 3)).tolist() == [[0, 5, 5]]


def test_channels_are_stretched_alike_together_as_on_a_gpu_and_one_by_one() -> None:
    channels = torch.rand(6, 9, 11, generator=torch.Generator().manual_seed(0)) - 0.3
    channels[1], channels[2], channels[3] = 0, 0.7, -1
    channels[4] *= 1e-30
    assert torch.equal(_stretch_all(channels), torch.stack([_stretch(channel) for channel in channels]))


def test_zero_channels_stay_zero() -> None:
    label = torch.zeros(3, 2, 2)
    assert decode_mask(label, (1, 2), frame_size=(4, 4), size=(4, 4)).max() == 0


def test_decode_needs_a_channel_per_object() -> None:
    with pytest.raises(LabelError, match=r"\(3, y, x\)"):
        decode_mask(torch.zeros(2, 4, 4), (1, 2), frame_size=(8, 8), size=(8, 8))


def test_the_peers_first_label(shared: Path) -> None:
    case = np.load(shared / "fixtures/label_propagation/case_0.npz")
    encoded = encode_mask(case["masks"][0], (30, 54))
    np.testing.assert_array_equal(encoded.label.numpy(), case["first_label"][0])
    assert encoded.object_ids == (1, 2, 3)
