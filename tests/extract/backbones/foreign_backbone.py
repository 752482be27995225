"""A backbone of another package: a small video transformer with features that UNets lack.

A causal encoder compresses five frames to two latent frames. Text and patches are one sequence of tokens. One tap is
the queries of an attention layer, per head, at stride 8; another a map at stride 16. The text encoder is a T5.
"""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from ted.extract.backbones import BackboneInfo
from ted.extract.backbones.base import Backbone
from ted.extract.encoders import TextModel, encode_prompt
from ted.extract.model_folder import ModelFolder
from ted.extract.noising.schedules import Schedule
from ted.extract.settings import BackboneOptions
from ted.extract.taps import Tap
from ted.extract.weights import PublishedWeights

NAME = "toy-dit"
HEADS, WIDTH, TEXT, LATENT, TOKENS = 2, 12, 16, 3, 6

INFO = BackboneInfo(
    title="Toy video transformer",
    kind="video",
    published=PublishedWeights(
        name="nobody/toy-dit",
        size="1 MB",
        licence="none",
        download="nowhere",
        expects="what the test writes",
        config="transformer.safetensors",
        parts=("transformer.safetensors", "text_encoder", "tokenizer"),
    ),
    default_tap="merged",
    loader=f"{__name__}:load",
    options=("prompt",),
)


class FlowMatching(Schedule):
    """x_tau = (1 - s) x_0 + s eps, s = tau / 1000."""

    def __len__(self) -> int:
        return 1000

    def perturb(self, clean: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return x_tau."""
        s = timestep / 1000
        return (1 - s) * clean + s * noise.to(clean.device)


class Transformer(nn.Module):
    """Patches of 2 x 2 latents, one attention block over text and all latent frames, then a merge of 2 x 2 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(LATENT, WIDTH, 2, stride=2)
        self.text = nn.Linear(TEXT, WIDTH)
        self.time = nn.Linear(1, WIDTH)
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.merge = nn.Conv2d(WIDTH, 2 * WIDTH, 2, stride=2)
        self.after = nn.Conv2d(2 * WIDTH, LATENT, 1)

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor]:
        clips, frames = latents.shape[:2]
        patches = self.patch(latents.flatten(0, 1))  # (clip * frame, channel, y, x)
        height, width = patches.shape[-2:]
        tokens = patches.unflatten(0, (clips, frames)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        tokens = torch.cat([self.text(text), tokens], dim=1) + self.time(timestep[:, None, None] / 1000)
        q, k, v = (
            layer(tokens).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        maps = attended[:, TOKENS:].unflatten(1, (frames, height, width)).permute(0, 1, 4, 2, 3).flatten(0, 1)
        return (self.after(self.merge(maps)),)


@dataclass(kw_only=True)
class ToyDit(Backbone):
    text_states: torch.Tensor
    network: Transformer

    @property
    def taps(self) -> dict[str, Tap]:
        return {
            "to_q": Tap(module=self.network.to_q, stride=8, heads=HEADS, to_map=self.token_map),
            "merged": Tap(module=self.network.merge, stride=16),
        }

    def token_map(self, output: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        """Drop the text tokens and lay out the others: (clip * latent frame, channel, y, x)."""
        grid = noisy.shape[1], noisy.shape[-2] // 2, noisy.shape[-1] // 2
        return output[:, TOKENS:].unflatten(1, grid).permute(0, 1, 4, 2, 3).flatten(0, 1)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Average 4 x 4 pixels, and every four frames after the first."""
        means = functional.avg_pool2d(pixels.to(self.device), 4)
        return torch.cat([means[:1], means[1:].unflatten(0, (-1, 4)).mean(1)])

    def network_arguments(self, noisy, timestep, condition):  # type: ignore[no-untyped-def]
        steps = [timestep] * len(noisy) if isinstance(timestep, int) else list(timestep)
        return {
            "latents": noisy.to(self.dtype),
            "timestep": torch.tensor(steps, dtype=self.dtype, device=self.device),
            "text": self.text_states.expand(len(noisy), -1, -1),
        }


def t5_states(encoder, ids, mask):  # type: ignore[no-untyped-def]
    return encoder(ids, attention_mask=mask).last_hidden_state


T5 = TextModel(encoder=T5EncoderModel, tokenizer=PreTrainedTokenizerFast, tokens=TOKENS, states=t5_states)


def load(weights, *, device, dtype, options=None):  # type: ignore[no-untyped-def]
    folder = ModelFolder(weights, backbone=NAME)
    network = Transformer()
    network.load_state_dict(load_file(folder.file("", "transformer.safetensors")))
    prompt = (options or BackboneOptions()).prompt or ""
    text = encode_prompt(folder, T5, prompt, width=TEXT, device=device, dtype=dtype)
    return ToyDit(
        name=NAME,
        network=network.to(device, dtype).eval().requires_grad_(False),
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        schedule=FlowMatching(),
        clip_length=5,
        latent_of_frame=(0, 1, 1, 1, 1),
        frame_multiple=16,
        conditioning={"prompt": prompt},
        text_states=text,
    )


def write_weights(folder) -> None:  # type: ignore[no-untyped-def]
    """Write random weights in the layout of the model's publisher."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import T5Config

    from ted.extract.random_weights import draw_parameters

    generator = torch.Generator().manual_seed(0)
    network = Transformer()
    draw_parameters(network, generator)
    folder.mkdir()
    save_file(network.state_dict(), folder / "transformer.safetensors")
    encoder = T5EncoderModel(
        T5Config(vocab_size=8, d_model=TEXT, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    )
    draw_parameters(encoder, generator)
    encoder.save_pretrained(folder / "text_encoder")
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "two", "red", "balls", "a", "fish"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder / "tokenizer")
