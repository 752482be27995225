"""Encoders of a latent diffusion network: frames to latents, prompts to text states, images to CLIP embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from ..store.errors import ConfigError, WeightsError
from .model_folder import ModelFolder, quiet_libraries
from .placeholders import PROMPT_TOKENS

#: Weights of R, G and B in luma (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


class FrameEncoder(Protocol):
    """An encoder of single frames."""

    scaling_factor: float  # factor to multiply latents with before the network
    stride: int  # pixels per latent, along each axis

    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (frame, 3, height, width) in [-1, 1] to unscaled latents (frame, channel, y, x), float32."""


class VaeLatents:
    """An encoder to the mode of the posterior of a diffusers autoencoder.

    Frames are encoded one by one, so that a frame's latents do not depend on other frames in the batch.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self.scaling_factor = float(vae.config.scaling_factor)
        self.stride = 2 ** (len(vae.config.block_out_channels) - 1)

    @torch.inference_mode()
    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels; see `FrameEncoder.mode`."""
        vae = self._vae
        frames = (pixels[i : i + 1].to(vae.device, vae.dtype) for i in range(len(pixels)))
        return torch.cat([vae.encode(frame).latent_dist.mode().float() for frame in frames])


class PixelLatents:
    """Averaged pixels instead of a VAE's latents.

    The channels are R, G and B in [-1, 1], followed for a UNet of four channels by luma (BT.601) or colourfulness (see
    `placeholders`). A UNet of another number of channels raises WeightsError.
    """

    scaling_factor = 1.0

    def __init__(self, factor: int, channels: int, device: torch.device, colourfulness: float | None = None) -> None:
        if channels not in (3, 4):
            raise WeightsError(
                f"a UNet of {channels} latent channels needs a VAE: pixels stand in only for 3 (RGB) or 4 (RGB, luma)"
            )
        self.stride = factor
        self._channels = channels
        self._device = device
        self._colourfulness = colourfulness

    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Average pixels; see `FrameEncoder.mode`."""
        colours = functional.avg_pool2d(pixels.to(self._device, torch.float32), self.stride)
        if self._channels == 3:
            return colours
        if self._colourfulness is not None:
            spread = colours.amax(dim=1, keepdim=True) - colours.amin(dim=1, keepdim=True)
            return torch.cat([colours, self._colourfulness * spread], dim=1)
        luma = torch.einsum("fcyx,c->fyx", colours, colours.new_tensor(_LUMA))
        return torch.cat([colours, luma[:, None]], dim=1)


def load_frame_encoder(
    folder: ModelFolder, cls: Any, *, channels: int, device: torch.device, dtype: torch.dtype, upcast: bool = False
) -> FrameEncoder:
    """Load the VAE, of class `cls`, or the placeholder that the folder declares.

    `channels` is the number of latent channels that the network takes. With `upcast`, a VAE whose configuration has
    ``force_upcast`` runs in float32 instead of float16. Raises WeightsError when the VAE is missing or damaged, or does
    not fit the network.
    """
    if folder.placeholders.vae is not None:
        folder.check_absent("vae")
        return PixelLatents(folder.placeholders.vae, channels, device, folder.placeholders.colourfulness)
    if upcast and dtype == torch.float16 and folder.config("vae").get("force_upcast", True):
        dtype = torch.float32
    vae = folder.model("vae", cls, device=device, dtype=dtype)
    if vae.config.latent_channels != channels:
        raise WeightsError(f"the VAE has {vae.config.latent_channels} latent channels, but the UNet takes {channels}")
    return VaeLatents(vae)


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """A pipeline's conversion of a prompt to text states."""

    encoder: Any  # classes (of transformers) of the parts ``text_encoder`` and ``tokenizer``
    tokenizer: Any
    tokens: int  # number of tokens to which a prompt is padded
    #: Function of an encoder, token ids (1, token) and their attention mask that returns text states (1, token,
    #: channel).
    states: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]


def clip_text(skip: int = 0) -> TextModel:
    """Return CLIP's text model, without its last `skip` layers (``clip_skip`` of the diffusers pipelines)."""

    def states(encoder: Any, ids: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
        outputs = encoder(ids, output_hidden_states=True)
        if skip == 0:
            last: torch.Tensor = outputs.last_hidden_state
            return last
        # Up to version 4 of transformers, the final norm is one level deeper.
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        normed: torch.Tensor = norm(outputs.hidden_states[-(skip + 1)])
        return normed

    return TextModel(encoder=CLIPTextModel, tokenizer=CLIPTokenizer, tokens=PROMPT_TOKENS, states=states)


class TextEncoder:
    """A pipeline's text encoder and tokenizer, loaded when they are first needed, or their placeholder.

    Parameters
    ----------
    folder
        The pipeline's folder.
    text
        Its conversion of prompts.
    width
        Number of channels that the network takes.
    device, dtype
        Device and precision of the encoder and of text states.
    """

    def __init__(
        self, folder: ModelFolder, text: TextModel, *, width: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._folder = folder
        self._text = text
        self.width = width
        self._device = device
        self._dtype = dtype
        self._tokenizer: Any = None
        self._encoder: Any = None

    @torch.no_grad()
    def encode(self, prompt: str) -> torch.Tensor:
        """Encode a prompt, which may be empty, to text states (1, token, channel).

        Raises
        ------
        WeightsError
            When the text encoder or the tokenizer is missing or damaged, or does not fit the network.
        ConfigError
            For a prompt that is longer than the text encoder reads, or that a placeholder would ignore.
        """
        placeholder = self._folder.placeholders.text
        if placeholder is not None:
            if prompt:
                raise ConfigError(
                    "the weights' folder declares zeros for all text: a prompt would have no effect there"
                )
            self._folder.check_absent("text_encoder")
            self._folder.check_absent("tokenizer")
            return torch.zeros(1, placeholder, self.width, device=self._device, dtype=self._dtype)
        tokenizer = self._load_tokenizer()
        if self._encoder is None:
            encoder = self._folder.model("text_encoder", self._text.encoder, device=self._device, dtype=self._dtype)
            if encoder.config.hidden_size != self.width:
                raise WeightsError(
                    f"text states have {encoder.config.hidden_size} channels, but the UNet takes {self.width}"
                )
            self._encoder = encoder
        self._ids(prompt)
        with quiet_libraries():
            padded = tokenizer(prompt, padding="max_length", max_length=self._text.tokens, return_tensors="pt")
            return self._text.states(
                self._encoder, padded.input_ids.to(self._device), padded.attention_mask.to(self._device)
            )

    def positions(self, prompt: str, words: str) -> list[int]:
        """Return the positions of a word's or a phrase's tokens in the text states of a prompt, rising.

        Only whole words count; a phrase that occurs several times has the tokens of all its occurrences.

        Raises
        ------
        ConfigError
            When the prompt does not contain the words, and for text that has a placeholder.
        WeightsError
            As for `encode`.
        """
        if self._folder.placeholders.text is not None:
            raise ConfigError("the weights' folder declares zeros for all text: there are no words")
        tokenizer, ids = self._load_tokenizer(), self._ids(prompt)
        special = set(tokenizer.all_special_ids)
        phrase = [token for token in self._ids(words) if token not in special]
        # CLIP's tokens mark the end of a word; a word begins after one, or after a special token.
        ends = [token.endswith("</w>") for token in tokenizer.convert_ids_to_tokens(ids)]
        found = {
            position
            for start in range(len(ids) - len(phrase) + 1)
            if phrase and ids[start : start + len(phrase)] == phrase
            if start == 0 or ends[start - 1] or ids[start - 1] in special or not any(ends)
            for position in range(start, start + len(phrase))
        }
        if not found:
            raise ConfigError(f"the prompt has no {words!r}; its words are: {', '.join(prompt.split()) or 'none'}")
        return sorted(found)

    def release(self) -> None:
        """Free the memory of the encoder and the tokenizer, which are loaded again when they are needed."""
        self._tokenizer = self._encoder = None

    def _load_tokenizer(self) -> Any:
        if self._tokenizer is None:
            self._tokenizer = self._folder.tokenizer(self._text.tokenizer)
        return self._tokenizer

    def _ids(self, prompt: str) -> list[int]:
        """Return the prompt's token ids, special ones included, without padding."""
        with quiet_libraries():
            ids: list[int] = list(self._load_tokenizer()(prompt).input_ids)
        if len(ids) > self._text.tokens:
            raise ConfigError(
                f"the prompt has {len(ids)} tokens, of which the text encoder reads {self._text.tokens}: shorten it"
            )
        return ids


def encode_prompt(
    folder: ModelFolder, text: TextModel, prompt: str, *, width: int, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Encode a prompt with a text encoder that is loaded only for this call; see `TextEncoder`."""
    return TextEncoder(folder, text, width=width, device=device, dtype=dtype).encode(prompt)


class ImageEmbedder:
    """CLIP's image encoder, or a stand-in that returns zeros if the folder declares it.

    `width` is the number of channels that the network takes. Raises WeightsError when the encoder or its preprocessing
    is missing or damaged, or does not fit the network.
    """

    size: tuple[int, int] = (224, 224)  # (height, width) in pixels of the images that the encoder takes

    def __init__(self, folder: ModelFolder, *, width: int, device: torch.device, dtype: torch.dtype) -> None:
        self._encoder: nn.Module | None = None
        self._zeros = torch.zeros(1, 1, width, device=device, dtype=dtype)
        if folder.placeholders.image:
            folder.check_absent("image_encoder")
            folder.check_absent("feature_extractor")
            return
        encoder = folder.model("image_encoder", CLIPVisionModelWithProjection, device=device, dtype=dtype)
        if encoder.config.projection_dim != width:
            raise WeightsError(
                f"image embeddings have {encoder.config.projection_dim} channels, but the UNet takes {width}"
            )
        # Only the processor's size, mean and standard deviation are used: pipelines resize in their own ways.
        settings = folder.config("feature_extractor", "preprocessor_config.json")
        self._mean, self._std = colour_statistics(settings)
        try:
            crop = settings["crop_size"]
            self.size = (crop, crop) if isinstance(crop, int) else (int(crop["height"]), int(crop["width"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"no usable crop_size in preprocessor_config.json: {error!r}") from error
        self._encoder = encoder

    @torch.inference_mode()
    def embed(self, image: torch.Tensor | None) -> torch.Tensor:
        """Embed an image (1, 3, height, width) of the encoder's size, float32, RGB in [0, 1], on the CPU.

        Returns (1, 1, channel). None gives zeros, which pipelines use as the unconditional embedding.
        """
        if self._encoder is None or image is None:
            return self._zeros
        pixels = ((image - self._mean) / self._std).to(self._zeros)
        embedding: torch.Tensor = self._encoder(pixels).image_embeds
        return embedding[:, None]


def colour_statistics(settings: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and standard deviation of colours in [0, 1] from a processor's settings, each (3, 1, 1), float32.

    Raises WeightsError when they are missing or invalid.
    """

    def colour(values: Sequence[float]) -> torch.Tensor:
        red, green, blue = values
        return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]

    try:
        return colour(settings["image_mean"]), colour(settings["image_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"no usable image_mean and image_std in preprocessor_config.json: {error!r}") from error
