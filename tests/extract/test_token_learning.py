"""Tokens learned through a tiny random UNet: gradients, what is learned, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional

from ted.extract.attention_maps import as_maps, attention_layers, read_attention
from ted.extract.backbones.base import Backbone
from ted.extract.backbones.latent import with_tokens
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.extract.encoders import PixelLatents
from ted.extract.noising.keyed_noise import NoiseKey, draw_noise
from ted.extract.noising.schedules import NoiseSchedule
from ted.extract.random_weights import draw_parameters
from ted.extract.token_learning import default_layers, learn_tokens, map_losses, token_maps
from ted.store.errors import ConfigError, TedError

CPU = torch.device("cpu")
TEXT, WIDTH, GRID = 6, 8, (8, 10)


def tiny(dtype: torch.dtype = torch.float32) -> StableDiffusion:
    unet = UNet2DConditionModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    draw_parameters(unet, torch.Generator().manual_seed(3))
    return StableDiffusion(
        name="tiny",
        network=unet.to(dtype).eval().requires_grad_(False),
        device=CPU,
        dtype=dtype,
        weights_id="random",
        frame_encoder=PixelLatents(8, 3, CPU),
        schedule=NoiseSchedule(alphas_cumprod=torch.linspace(0.999, 0.01, 1000)),
        text_states=torch.randn(1, TEXT, WIDTH, generator=torch.Generator().manual_seed(5)).to(dtype),
    )


@pytest.fixture(scope="module")
def backbone() -> StableDiffusion:
    return tiny()


@pytest.fixture(scope="module")
def frame() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of a bright and of a red rectangle, and their masks on twice the grid."""
    masks = torch.zeros(2, 2 * GRID[0], 2 * GRID[1])
    masks[0, 2:10, 2:10] = 1
    masks[1, 8:16, 12:20] = 1
    cells = functional.avg_pool2d(masks, 2)
    latents = 0.1 * torch.randn(1, 3, *GRID, generator=torch.Generator().manual_seed(0)) - 0.5
    return latents + 1.4 * cells[None, :1] + torch.tensor([1.4, 0, 0])[None, :, None, None] * cells[None, 1:], masks


def maps_of(backbone: Backbone, latents: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    arguments = backbone.network_arguments(latents[None], 100, {"text_states": states})
    layers = attention_layers(backbone, cross=True, within=default_layers(backbone))
    with torch.no_grad():
        return as_maps(read_attention(lambda: backbone.network(**arguments), layers), GRID)[0]


def test_gradients_equal_finite_differences(frame: tuple[torch.Tensor, torch.Tensor]) -> None:
    backbone, (latents, masks) = tiny(torch.float64), frame
    tokens = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)

    def loss(values: torch.Tensor) -> torch.Tensor:
        layers = default_layers(backbone)
        maps = token_maps(backbone, latents, values, states=backbone.text_states, layers=layers, timestep=100)
        return map_losses(maps, masks).sum()

    found = loss(tokens)
    (gradient,) = torch.autograd.grad(found, tokens)
    maps = maps_of(backbone, latents, with_tokens(backbone.text_states, tokens))[1:3]
    cells = functional.avg_pool2d(masks, 2).double()
    torch.testing.assert_close(found, 2 * functional.binary_cross_entropy(maps, cells))
    for step in torch.eye(2 * WIDTH, dtype=torch.float64).view(-1, 2, WIDTH)[::3] * 1e-5:
        with torch.no_grad():
            difference = (loss(tokens + step) - loss(tokens - step)) / 2e-5
        torch.testing.assert_close((gradient * step / 1e-5).sum(), difference, rtol=1e-6, atol=1e-9)


def test_the_loss_falls_and_the_map_moves_into_the_mask(
    backbone: StableDiffusion, frame: tuple[torch.Tensor, torch.Tensor]
) -> None:
    latents, masks = frame
    assert default_layers(backbone) == ("up_blocks[1]",)
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    steps: list[int] = []
    with torch.inference_mode():  # as callers may be in
        learned = learn_tokens(backbone, latents, masks, steps=20, draws=1, rate=0.3, progress=steps.append)
    assert learned.losses.shape == (20, 2)
    assert sum(steps) == 20
    assert (learned.losses[-5:].mean(0) < 0.95 * learned.losses[0]).all()
    assert all(torch.equal(value, before[name]) for name, value in backbone.network.state_dict().items())
    assert not backbone.network.is_gradient_checkpointing

    def inside(states: torch.Tensor) -> torch.Tensor:
        maps = maps_of(backbone, latents, states)[1:3]
        return (maps * functional.avg_pool2d(masks, 2)).sum((1, 2)) / maps.sum((1, 2))

    null = backbone.text_states
    noise = draw_noise(NoiseKey(seed=0, video="", start=0, draw=20, purpose="token"), latents.shape)
    noisy = backbone.schedule.perturb(latents, noise, 100)
    expected = maps_of(backbone, noisy, with_tokens(null, learned.tokens))[1:3]
    torch.testing.assert_close(learned.maps, expected)
    assert (inside(with_tokens(null, learned.tokens)) > 1.3 * inside(null)).all()


def test_keys_order_and_starts(backbone: StableDiffusion, frame: tuple[torch.Tensor, torch.Tensor]) -> None:
    latents, masks = frame
    key = NoiseKey(seed=1, video="walk", start=3)

    def learn(targets: torch.Tensor = masks, **settings: Any) -> torch.Tensor:
        return learn_tokens(backbone, latents, targets, **{"steps": 2, "draws": 2, "key": key, **settings}).tokens

    first = learn()
    assert torch.equal(first, learn())
    assert not torch.equal(first, learn(key=replace(key, seed=2)))
    torch.testing.assert_close(learn(masks.flip(0)), first.flip(0), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(first[0], first[1])
    # Two steps from tokens of one step differ from two steps in noise and momentum alone.
    assert (learn(steps=1, start=first) - first).abs().max() < 0.011
    assert (learn(steps=1) - 1e-4).abs().max() < 0.011


def test_what_cannot_be_learned(
    backbone: StableDiffusion, frame: tuple[torch.Tensor, torch.Tensor], adm: Backbone, svd: Backbone
) -> None:
    latents, masks = frame
    with pytest.raises(ConfigError, match="no pixel of target 1 to learn"):
        learn_tokens(backbone, latents, torch.stack([masks[0], 0 * masks[0]]))
    with pytest.raises(ConfigError, match="6 text states has no room for the tokens of 6 objects"):
        learn_tokens(backbone, latents, masks[:1].expand(6, -1, -1))
    with pytest.raises(ConfigError, match="the tokens have 3 channels, but the network takes 8"):
        learn_tokens(backbone, latents, masks, start=torch.zeros(2, 3))
    with pytest.raises(ConfigError, match=r"no cross-attention in up_blocks\[0\]; it has: down_blocks\[0\]"):
        learn_tokens(backbone, latents, masks, layers=["up_blocks[0]"])
    with pytest.raises(ConfigError, match="'adm' has no cross-attention"):
        learn_tokens(adm, latents, masks)
    with pytest.raises(ConfigError, match="'svd' sees clips"):
        learn_tokens(svd, latents, masks)
    with pytest.raises(TedError, match="in step 1 the loss or its gradient is not finite"):
        learn_tokens(backbone, latents * float("nan"), masks, steps=1)
