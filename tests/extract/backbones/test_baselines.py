"""Controls without a network: colours and positions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ted.extract.backbones import load_backbone
from ted.extract.backbones.baselines import Baseline
from ted.store.errors import ConfigError

CPU = torch.device("cpu")


def features(name: str, pixels: torch.Tensor, tap: str) -> torch.Tensor:
    backbone = load_backbone(name, None, device=CPU, dtype=torch.float32)
    assert isinstance(backbone, Baseline)
    values = backbone.encode(pixels)
    return backbone.features(values[:, None], 0, {}, [tap])[tap][:, 0]


@pytest.mark.parametrize(("tap", "stride"), [("stride4", 4), ("stride8", 8), ("stride16", 16)])
def test_cosines_of_colours_are_those_of_their_differences(tap: str, stride: int) -> None:
    pixels = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = features("rgb", pixels, tap)
    assert found.shape == (2, 6, 32 // stride, 64 // stride)
    cells = ((pixels.double() + 1) / 2).reshape(2, 3, 32 // stride, stride, 64 // stride, stride).mean((3, 5))
    first, second = cells[0, :, 0, 1], cells[1, :, 1, 2]
    expected = torch.cos((first - second) * torch.pi / 2).mean()
    cosine = torch.cosine_similarity(found[0, :, 0, 1].double(), found[1, :, 1, 2].double(), dim=0)
    torch.testing.assert_close(cosine, expected, atol=1e-6, rtol=0)


def test_positions_say_where_a_cell_is_and_not_what_it_shows() -> None:
    pixels = torch.rand(3, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = features("position", pixels, "stride8")
    assert found.shape == (3, 4, 4, 8)
    assert torch.equal(found[0], found[2])
    x = (torch.arange(8, dtype=torch.float64) * 8 + 4) / 64 * torch.pi / 2
    y = (torch.arange(4, dtype=torch.float64) * 8 + 4) / 64 * torch.pi / 2  # of the longer side, as x
    expected = torch.stack([part.expand(4, 8) for part in (x.cos(), y.cos()[:, None], x.sin(), y.sin()[:, None])])
    torch.testing.assert_close(found[0].double(), expected, atol=1e-6, rtol=0)
    # Equal steps along either axis are equally far.
    similarity = torch.einsum("c,cyx->yx", found[0, :, 1, 3], found[0]) / 2
    np.testing.assert_allclose(similarity[1, 4], similarity[2, 3], rtol=1e-5)
    assert similarity[1, 3] > similarity[1, 4] > similarity[1, 5] > similarity[1, 7]


def test_weights_make_no_sense_for_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backbone 'rgb' has no weights: leave"):
        load_backbone("rgb", tmp_path, device=CPU, dtype=torch.float32)
    with pytest.raises(ConfigError, match="cannot have random weights"):
        load_backbone("position", "random:1", device=CPU, dtype=torch.float32)
