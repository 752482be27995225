"""Attention recomputed from queries and keys, against what the network's own layers compute."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from ted.extract.attention_maps import as_maps, attention_layers, grid_of_tokens, read_attention
from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.backbones.stable_diffusion import StableDiffusion
from ted.store.errors import ConfigError
from tests.extract.small_folders import SmallFolders

CPU = torch.device("cpu")
TIMESTEP = 301


@pytest.fixture(scope="module")
def sd21(small_folder: SmallFolders) -> StableDiffusion:
    backbone = load_backbone("sd21", small_folder("sd21"), device=CPU, dtype=torch.float32)
    assert isinstance(backbone, StableDiffusion)
    return backbone


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn(2, 1, 4, 6, 10, generator=torch.Generator().manual_seed(0))


def record(modules: Mapping[str, nn.Module]) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Record the modules' outputs of the passes to come."""
    found: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Any:
        return lambda _module, _arguments, output: found.update({name: output})

    return found, [module.register_forward_hook(hook(name)) for name, module in modules.items()]


def test_weights_times_values_are_the_layers_outputs(sd21: StableDiffusion, latents: torch.Tensor) -> None:
    for cross in (False, True):
        layers = attention_layers(sd21, cross=cross)
        assert len(layers) == 10
        assert list(layers)[-1] == f"up_blocks[3].attentions[1].attn{1 + cross}"
        values, handles = record({name: layer.to_v for name, layer in layers.items()})
        outputs, more = record(layers)
        arguments = sd21.network_arguments(latents, TIMESTEP, {})
        weights = read_attention(lambda given=arguments: sd21.network(**given), layers, stop_early=False)
        for handle in (*handles, *more):
            handle.remove()
        for name, layer in layers.items():
            by_head = values[name].unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            found = layer.to_out[0]((weights[name] @ by_head).transpose(1, 2).flatten(2))
            torch.testing.assert_close(found, outputs[name], rtol=1e-5, atol=2e-6)
            assert weights[name].shape[2:] == (weights[name].shape[2], 77 if cross else weights[name].shape[2])


def test_gradients_flow_to_the_text_also_with_checkpoints_and_an_early_end(
    sd21: StableDiffusion, latents: torch.Tensor
) -> None:
    layers = attention_layers(sd21, cross=True, within=["up_blocks[1]", "up_blocks[2]"])
    assert {name[:12] for name in layers} == {"up_blocks[1]", "up_blocks[2]"}
    ran: list[str] = []
    end = sd21.network.get_submodule("conv_out").register_forward_pre_hook(lambda *_: ran.append("end"))
    gradients = []
    for stop_early, checkpoints in ((False, False), (True, False), (True, True)):
        states = sd21.text_states.clone().requires_grad_()
        arguments = sd21.network_arguments(latents, TIMESTEP, {"text_states": states})
        if checkpoints:
            sd21.network.enable_gradient_checkpointing()
        ran.clear()
        weights = read_attention(lambda given=arguments: sd21.network(**given), layers, stop_early=stop_early)
        assert bool(ran) is not stop_early
        maps = as_maps(weights, (6, 10))
        assert maps.shape == (2, 77, 3, 5)
        (gradient,) = torch.autograd.grad(maps[:, 1, 1, 2].sum(), states)
        sd21.network.disable_gradient_checkpointing()
        gradients.append(gradient)
    end.remove()
    assert float(gradients[0][0, 1].norm()) > 1e-6
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-5, atol=1e-9)


def test_each_clip_has_its_own_text_states(sd21: StableDiffusion, latents: torch.Tensor) -> None:
    other = sd21.text_states + 1
    both = sd21.predict(latents, TIMESTEP, {"text_states": torch.cat([sd21.text_states, other])})
    torch.testing.assert_close(both[:1], sd21.predict(latents[:1], TIMESTEP, {}))
    torch.testing.assert_close(both[1:], sd21.predict(latents[1:], TIMESTEP, {"text_states": other}))
    assert not torch.allclose(both[1:], sd21.predict(latents[1:], TIMESTEP, {}), rtol=1e-2)


def test_maps_are_means_over_heads_and_layers_on_the_finest_grid() -> None:
    fine = torch.rand(1, 2, 15, 3, generator=torch.Generator().manual_seed(1))
    coarse = torch.tensor([[[[0.2], [0.4]]]]).expand(1, 1, 2, 3)
    maps = as_maps({"coarse": coarse[:, :, :1].expand(1, 1, 1, 3), "fine": fine}, (5, 3))
    torch.testing.assert_close(maps[0, 2].flatten(), (fine[0, :, :, 2].mean(0) + 0.2) / 2)
    assert (grid_of_tokens(2, (5, 3)), grid_of_tokens(6, (5, 3))) == ((2, 1), (3, 2))
    with pytest.raises(ConfigError, match="7 tokens are not a grid of an input of 5x3 cells"):
        grid_of_tokens(7, (5, 3))


def test_layers_that_cannot_be_read(sd21: StableDiffusion, adm: Backbone, svd: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"no cross-attention in up_blocks\[0\]; it has: down_blocks\[0\].att"):
        attention_layers(sd21, cross=True, within=["up_blocks[0]"])
    with pytest.raises(ConfigError, match=r"'adm' has no cross-attention$"):
        attention_layers(adm, cross=True)
    assert len(attention_layers(adm, cross=False)) == 16
    assert len(attention_layers(svd, cross=False)) == 10  # those along the frames are left out
    layer = attention_layers(sd21, cross=True)["mid_block.attentions[0].attn2"]
    layer.fused_projections = True
    with pytest.raises(ConfigError, match=r"cross-attention at mid_block\S+ of backbone 'sd21' cannot be read: .*fuse"):
        attention_layers(sd21, cross=True)
    layer.fused_projections = False


def test_words_have_the_positions_of_their_tokens(sd21: StableDiffusion, small_folder: SmallFolders) -> None:
    text = sd21.text
    assert text is not None
    # The small tokenizer's tokens are characters; a begin token comes first.
    assert text.positions("a cat on a mat", "cat") == [2, 3, 4]
    assert text.positions("a cat on a mat", "on a") == [5, 6, 7]
    assert text.positions("A cat on a mat.", "a") == [1, 7]
    with pytest.raises(ConfigError, match="the prompt has no 'at'; its words are: a, cat, on"):
        text.positions("a cat on", "at")
    with pytest.raises(ConfigError, match="the prompt has no ''"):
        text.positions("a cat", "")
    assert torch.equal(text.encode(""), sd21.text_states)
    prompted = load_backbone("sd21", small_folder("sd21"), device=CPU, dtype=torch.float32)
    text.release()
    assert torch.equal(sd21.null_states, sd21.text_states)
    assert torch.equal(replace(sd21, conditioning={"prompt": "a"}).null_states, sd21.text_states)
    assert torch.equal(text.encode("a cat"), prompted.text.encode("a cat"))  # type: ignore[union-attr]
    zeros = load_backbone("sd21", small_folder("sd21", standins=True), device=CPU, dtype=torch.float32).text
    assert zeros is not None
    assert torch.equal(zeros.encode(""), torch.zeros(1, 77, 32))
    with pytest.raises(ConfigError, match="declares zeros for all text: there are no words"):
        zeros.positions("a cat", "cat")
