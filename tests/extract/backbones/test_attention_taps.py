"""Queries and keys of self-attention: recomputed attention equals that of the network's own modules."""

import re
from collections.abc import Callable

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.store.errors import ConfigError
from tests.extract.conftest import features_of, load_clips, make_plan, random_frames
from tests.extract.small_folders import SmallFolders

CPU = torch.device("cpu")
SIZE, TIMESTEP = (64, 96), 301

#: Self-attention layers by backbone: number of spatial and of temporal ones.
LAYERS = {"sd21": (10, 0), "i2vgen-xl": (10, 22), "svd": (10, 10), "adm": (16, 0)}


@pytest.fixture(scope="module")
def load(small_folder: SmallFolders) -> Callable[[str], Backbone]:
    return lambda name: load_backbone(name, small_folder(name), device=CPU, dtype=torch.float32)


def layers(backbone: Backbone) -> list[str]:
    return [tap.removesuffix(":qk") for tap in backbone.attention_taps if tap.endswith(":qk")]


def is_temporal(layer: str) -> bool:
    return "temp" in layer or "transformer_in" in layer


def module_of(network: nn.Module, layer: str) -> nn.Module:
    path = re.sub(r"\[(\d+)\]", r".\1", layer)
    for candidate in (path, path.replace(".attn", ".transformer_blocks.0.attn")):
        try:
            return network.get_submodule(candidate)
        except AttributeError:
            continue
    raise AssertionError(layer)


def own_attention(backbone: Backbone, noisy: torch.Tensor, condition: object) -> dict[str, torch.Tensor]:
    """The probabilities that each layer computes in a full pass: (batch * head, query, key)."""
    found: dict[str, torch.Tensor] = {}

    def record(layer: str, module: nn.Module) -> None:
        scores = module.get_attention_scores

        def recorded(*arguments: torch.Tensor) -> torch.Tensor:
            found[layer] = scores(*arguments)
            return found[layer]

        module.get_attention_scores = recorded  # type: ignore[assignment]

    for module in backbone.network.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
    for layer in layers(backbone):
        record(layer, module_of(backbone.network, layer))
    with torch.inference_mode():
        backbone.network(**backbone.network_arguments(noisy[None], TIMESTEP, condition))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_attention_recomputed_from_stored_queries_and_keys_is_the_modules(
    name: str, load: Callable[[str], Backbone]
) -> None:
    backbone = load(name)
    assert (
        tuple(sum(is_temporal(layer) == kind for layer in layers(backbone)) for kind in (False, True)) == LAYERS[name]
    )
    source = random_frames(backbone.clip_length, size=SIZE)
    taps = list(backbone.attention_taps)
    found = features_of(backbone, source, SIZE, [TIMESTEP], taps)
    stored = {tap: values.half().float() for (_, tap), values in found.items()}  # as units hold them
    plan = make_plan(backbone, source, SIZE, [TIMESTEP], taps)
    (clip,) = load_clips(backbone, source, plan, [0]).values()
    for layer, expected in own_attention(backbone, clip.noisy(TIMESTEP, 0), clip.condition).items():
        tap = backbone.attention_taps[f"{layer}:qk"]
        heads = stored[f"{layer}:qk"].unflatten(1, (tap.heads, 2, -1))  # (frame, head, query or key, channel, y, x)
        assert plan.specs[TIMESTEP, f"{layer}:qk"].heads == tap.heads
        for at, role in enumerate("qk"):
            assert torch.equal(heads[:, :, at].flatten(1, 2), stored[f"{layer}:{role}"])
        if is_temporal(layer):  # between the frames, at each cell
            queries, keys = heads.permute(2, 4, 5, 1, 0, 3).flatten(1, 2)  # (cell, head, frame, channel)
        else:  # between the cells, in each frame
            queries, keys = heads.flatten(4).permute(2, 0, 1, 4, 3)  # (frame, head, cell, channel)
        own = expected.view(len(queries), tap.heads, *expected.shape[1:])

        def distance(first: torch.Tensor, second: torch.Tensor, own: torch.Tensor = own) -> float:
            attention = (first @ second.mT / first.shape[-1] ** 0.5).softmax(-1)
            return float((attention - own).abs().sum(-1).max()) / 2  # total variation, of the worst query

        assert distance(queries, keys) < 3e-3
        assert distance(keys, queries) > 2e-2
        assert tap.heads == 1 or distance(queries.flip(1), keys.flip(1)) > 2e-2


def test_a_pass_ends_after_the_last_tap(load: Callable[[str], Backbone]) -> None:
    backbone = load("sd21")
    ran: list[str] = []
    for name in ("up_blocks.1.attentions.0", "up_blocks.1.attentions.1", "conv_out"):
        backbone.network.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))  # type: ignore[misc]
    taps = ["down_blocks[0].attentions[0].attn1:q", "up_blocks[1].attentions[0].attn1:k", "mid_block"]
    found = features_of(backbone, random_frames(1, size=SIZE), SIZE, [TIMESTEP], taps)
    assert [tap for _, tap in found] == taps
    assert ran == ["up_blocks.1.attentions.0"]


def test_without_temporal_layers_there_are_no_temporal_taps(small_folder: SmallFolders) -> None:
    from ted.extract.settings import BackboneOptions

    for name in ("i2vgen-xl", "svd"):
        options = BackboneOptions(temporal=False)
        backbone = load_backbone(name, small_folder(name), device=CPU, dtype=torch.float32, options=options)
        assert layers(backbone)
        assert not any(map(is_temporal, layers(backbone)))


def test_taps_without_attention_name_the_nearest(load: Callable[[str], Backbone]) -> None:
    backbone = load("sd21")
    for tap, near in (
        ("up_blocks[0].attentions[0].attn1:q", r"near ones: .*up_blocks\[\d\].attentions\[0\].attn1:q"),
        ("up_blocks[1].attentions[0].attn2:k", r"near ones: up_blocks\[1\].attentions\[0\].attn1:k"),
        ("up_blocks[1].attentions[0].attn1", r"near ones: up_blocks\[1\].attentions\[0\].attn1:"),
    ):
        with pytest.raises(ConfigError, match=rf"no self-attention at tap '{re.escape(tap)}' of .*'sd21'; {near}"):
            make_plan(backbone, random_frames(1), (64, 64), taps=[tap])
    with pytest.raises(ConfigError, match=r"it has: .*up_blocks\[3\]; and queries and keys of attention, such as"):
        make_plan(backbone, random_frames(1), (64, 64), taps=["up_blocks[9]"])
    rgb = load_backbone("rgb", None, device=CPU, dtype=torch.float32)
    with pytest.raises(ConfigError, match="it has no taps of attention"):
        make_plan(rgb, random_frames(1), (64, 64), taps=["attn1:q"])


def test_fused_projections_are_refused(load: Callable[[str], Backbone]) -> None:
    backbone = load("sd21")
    backbone.network.fuse_qkv_projections()  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"attn1:q' of backbone 'sd21' cannot be read: .*fused projections"):
        make_plan(backbone, random_frames(1), (64, 64), taps=["up_blocks[1].attentions[0].attn1:q"])
    make_plan(backbone, random_frames(1), (64, 64), taps=["up_blocks[2]"])
