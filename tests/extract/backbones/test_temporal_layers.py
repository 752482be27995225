"""Without temporal layers, frames are independent, and equal the results of diffusers' own ways to ignore time."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from diffusers.models.resnet import SpatioTemporalResBlock, TemporalConvLayer
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel, TransformerTemporalModel
from diffusers.models.unets.unet_i2vgen_xl import I2VGenXLTransformerTemporalEncoder
from torch import nn

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.settings import BackboneOptions
from tests.extract.small_folders import SmallFolders, make_clip

CPU = torch.device("cpu")
NAMES = ["i2vgen-xl", "svd"]
FRAMES = 4
CHANGED = 2


def seeded(shape: Sequence[int], seed: int = 0) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def load(small_folder: SmallFolders) -> Callable[..., Backbone]:
    def load_with(name: str, **options: Any) -> Backbone:
        folder = small_folder(name, standins=True)
        return load_backbone(name, folder, device=CPU, dtype=torch.float32, options=BackboneOptions(**options))

    return load_with


def features(backbone: Backbone, noisy: torch.Tensor, taps: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    clip = make_clip(FRAMES, 64, 96)
    condition = backbone.condition(clip, clip[:1], seeded)
    batch = {key: value.repeat(len(noisy), *[1] * (value.ndim - 1)) for key, value in condition.items()}
    return backbone.features(noisy, 300, batch, taps or list(backbone.taps))


def relative_change(after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Relative change of each frame of a single clip."""
    return (after - before)[0].flatten(1).norm(dim=1) / before[0].flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temporal", [True, False])
def test_whether_a_frame_depends_on_the_others(name: str, temporal: bool, load: Callable[..., Backbone]) -> None:
    backbone = load(name, temporal=temporal)
    noisy = seeded((1, FRAMES, 4, 8, 12))
    other = noisy.clone()
    other[:, CHANGED] = seeded((4, 8, 12), seed=1)
    before, after = features(backbone, noisy), features(backbone, other)
    for tap in backbone.taps:
        change = relative_change(after[tap], before[tap])
        others = [change[frame] for frame in range(FRAMES) if frame != CHANGED]
        assert change[CHANGED] > 1e-2, tap
        if temporal:
            assert min(others) > 1e-4, tap
        else:
            assert max(others) == 0, tap


def set_to_zero(layer: Any) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def silence(unet: nn.Module) -> None:
    """Make I2VGen-XL's temporal layers add nothing to their skip connections, as before training."""
    for module in unet.modules():
        if isinstance(module, TemporalConvLayer):
            set_to_zero(module.conv4[-1])
        elif isinstance(module, TransformerTemporalModel):
            set_to_zero(module.proj_out)
        elif isinstance(module, I2VGenXLTransformerTemporalEncoder):
            set_to_zero(module.attn1.to_out[0])
            set_to_zero(module.ff.net[-1])


def see_images(unet: nn.Module) -> None:
    """Make SVD's blocks process images, for which they do not blend in the temporal branch."""

    def tell(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"image_only_indicator": torch.ones_like(kwargs["image_only_indicator"])}

    told = [m for m in unet.modules() if isinstance(m, SpatioTemporalResBlock | TransformerSpatioTemporalModel)]
    assert len(told) > 10
    for module in told:
        module.register_forward_pre_hook(tell, with_kwargs=True)


@pytest.mark.parametrize(("name", "ignore_time"), [("i2vgen-xl", silence), ("svd", see_images)])
def test_features_are_those_of_the_spatial_layers(
    name: str, ignore_time: Callable[[nn.Module], None], load: Callable[..., Backbone]
) -> None:
    without, reference = load(name, temporal=False), load(name)
    noisy = seeded((2, FRAMES, 4, 8, 12))
    with_time = features(reference, noisy)
    ignore_time(reference.network)
    expected, found = features(reference, noisy), features(without, noisy)
    assert list(found) == list(reference.taps)
    for tap, value in expected.items():
        torch.testing.assert_close(found[tap], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()))
        assert (with_time[tap] - value).norm() / value.norm() > 1e-2, tap


@pytest.mark.parametrize("name", NAMES)
def test_other_models_and_the_librarys_classes_stay_as_they_are(name: str, load: Callable[..., Backbone]) -> None:
    noisy = seeded((1, FRAMES, 4, 8, 12))
    tap = ["up_blocks[2]"]
    with_time = load(name)
    before = features(with_time, noisy, tap)
    load(name, temporal=False)
    for backbone in (with_time, load(name)):
        assert torch.equal(features(backbone, noisy, tap)[tap[0]], before[tap[0]])
