"""Maps of words, against attention that diffusers computes itself, in float64."""

from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.noising.keyed_noise import NoiseKey, draw_noise
from ted.extract.word_maps import content_words, word_map
from ted.store.errors import ConfigError

from .small_folders import SmallFolders

PROMPT = "a red circle and a blue square"
KEY = NoiseKey(seed=3, video="v", start=0)


@pytest.fixture(scope="module")
def backbone(small_folder: SmallFolders) -> Backbone:
    return load_backbone("sd21", small_folder("sd21"), device=torch.device("cpu"), dtype=torch.float32)


class Recorder:
    """A processor of attention that keeps the probabilities of diffusers' own function."""

    def __init__(self, kept: dict[str, np.ndarray], name: str) -> None:
        self._kept, self._name = kept, name

    def __call__(self, layer: Any, states: torch.Tensor, encoder_hidden_states: Any = None, **_: Any) -> torch.Tensor:
        context = states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            layer.head_to_batch_dim(part) for part in (layer.to_q(states), layer.to_k(context), layer.to_v(context))
        )
        weights = layer.get_attention_scores(query, key)
        self._kept[self._name] = weights.detach().double().numpy().mean(0)  # over heads
        return layer.to_out[0](layer.batch_to_head_dim(weights @ value))


def resize(values: np.ndarray) -> np.ndarray:
    """Resize a map to 8x12 cells, bilinearly."""
    rows, columns = (
        np.clip((np.arange(cells) + 0.5) * side / cells - 0.5, 0, side - 1)
        for cells, side in zip((8, 12), values.shape, strict=True)
    )
    found = np.empty((8, 12))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            (top, left), (dy, dx) = (int(y), int(x)), (y % 1, x % 1)
            below, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
            upper = (1 - dx) * values[top, left] + dx * values[top, right]
            found[i, j] = (1 - dy) * upper + dy * ((1 - dx) * values[below, left] + dx * values[below, right])
    return found


def test_a_map_is_cross_attention_carried_by_self_attention(backbone: Backbone) -> None:
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = word_map(backbone, pixels, PROMPT, ["blue", "square"], key=KEY, timestep=100, draws=2)
    assert (found.shape, found.dtype) == ((8, 12), torch.float32)

    text = backbone.text
    assert text is not None
    at = [*text.positions(PROMPT, "blue"), *text.positions(PROMPT, "square")]
    network: Any = backbone.network
    processors = dict(network.attn_processors)
    expected = np.zeros((8, 12))
    for draw in range(2):
        kept: dict[str, np.ndarray] = {}
        network.set_attn_processor({name: Recorder(kept, name) for name in processors})
        latents = backbone.encode(pixels)
        noise = draw_noise(NoiseKey(seed=3, video="v", start=0, draw=draw), latents.shape)
        abar = float(backbone.schedule.alpha_bar(100))
        with torch.no_grad():
            network(abar**0.5 * latents + (1 - abar) ** 0.5 * noise, 100, text.encode(PROMPT))
        network.set_attn_processor(dict(processors))
        cross = [one for name, one in kept.items() if name.startswith("up_blocks") and ".attn2." in name]
        own = [one for name, one in kept.items() if name.startswith("up_blocks.3") and ".attn1." in name]
        maps = []
        for one in cross:
            values = one[:, at].mean(1)
            shrink = round((96 / len(values)) ** 0.5)
            maps.append(resize(values.reshape(8 // shrink, 12 // shrink)))
        carried = np.mean(maps, 0).ravel()
        between = np.mean(own, 0)
        for i in range(96):
            expected.flat[i] += sum(carried[p] * between[p, i] for p in range(96)) / between[:, i].sum() / 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5)


def test_words_without_a_map_of_their_own() -> None:
    assert content_words("the deer on a well-lit hill, by night") == ["deer", "well-lit", "hill", "night"]
    assert content_words("The") == ["The"]


def test_refused(backbone: Backbone, small_folder: SmallFolders) -> None:
    pixels = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ConfigError, match="the prompt has no 'green'"):
        word_map(backbone, pixels, PROMPT, ["green"], key=KEY)
    with pytest.raises(ConfigError, match="the text encoder reads 77: shorten it"):
        word_map(backbone, pixels, "red " * 80, ["red"], key=KEY)
    colours = load_backbone("rgb", None, device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(ConfigError, match="'rgb' takes no text"):
        word_map(colours, pixels, PROMPT, ["red"], key=KEY)
