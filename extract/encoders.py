"""Encoders of a latent diffusion network: frames to latents, prompts to text states, images to CLIP embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from ..store.errors import ConfigError, WeightsError
from .model_folder import ModelFolder, quiet_libraries
from .placeholders import PROMPT_TOKENS, PixelLatents

__all__ = [
    "FrameEncoder",
    "ImageEmbedder",
    "TextModel",
    "VaeLatents",
    "clip_text",
    "colour_statistics",
    "encode_prompt",
    "load_frame_encoder",
]


class FrameEncoder(Protocol):
    """An encoder of single frames.

    Attributes
    ----------
    scaling_factor
        Factor to multiply latents with before the network.
    stride
        Pixels per latent, along each axis.
    """

    scaling_factor: float
    stride: int

    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (frame, 3, height, width) in [-1, 1] to unscaled latents (frame, channel, y, x), float32."""


class VaeLatents:
    """An encoder to the mode of a VAE's posterior.

    Frames are encoded one by one, so that a frame's latents do not depend on other frames in the batch.

    Parameters
    ----------
    vae
        A diffusers autoencoder, on the device and in the precision to run in.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self.scaling_factor = float(vae.config.scaling_factor)
        self.stride = 2 ** (len(vae.config.block_out_channels) - 1)

    @torch.inference_mode()
    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (frame, 3, height, width) in [-1, 1] to unscaled latents (frame, channel, y, x), float32."""
        vae = self._vae
        frames = (pixels[i : i + 1].to(vae.device, vae.dtype) for i in range(len(pixels)))
        return torch.cat([vae.encode(frame).latent_dist.mode().float() for frame in frames])


def load_frame_encoder(
    folder: ModelFolder, cls: Any, *, channels: int, device: torch.device, dtype: torch.dtype, upcast: bool = False
) -> FrameEncoder:
    """Load the VAE, or the placeholder that the folder declares.

    Parameters
    ----------
    folder
        The pipeline's folder.
    cls
        The VAE's class.
    channels
        Number of latent channels that the network takes.
    device, dtype
        Device and precision to run in.
    upcast
        Run in float32 instead of float16 if the VAE's configuration has ``force_upcast``.

    Raises
    ------
    WeightsError
        When the VAE is missing or damaged, or does not fit the network.
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
    """A pipeline's conversion of a prompt to text states.

    Attributes
    ----------
    encoder, tokenizer
        Classes (of transformers) of the parts ``text_encoder`` and ``tokenizer``.
    tokens
        Number of tokens to which a prompt is padded.
    states
        Function of an encoder, token ids (1, token) and their attention mask that returns text states (1, token,
        channel).
    """

    encoder: Any
    tokenizer: Any
    tokens: int
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


@torch.inference_mode()
def encode_prompt(
    folder: ModelFolder, text: TextModel, prompt: str, *, width: int, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Encode a prompt; load the text encoder only for this call.

    Parameters
    ----------
    folder
        The pipeline's folder.
    text
        The pipeline's text model.
    prompt
        The prompt, which may be empty.
    width
        Number of channels of the text states that the network takes.
    device, dtype
        Device and precision of the encoder.

    Returns
    -------
    torch.Tensor
        (1, token, channel), `dtype`, on `device`.

    Raises
    ------
    WeightsError
        When the text encoder or the tokenizer is missing or damaged, or does not fit the network.
    ConfigError
        For a prompt that is longer than the text encoder reads, or that a placeholder would ignore.
    """
    if folder.placeholders.text is not None:
        if prompt:
            raise ConfigError("the weights' folder declares zeros for all text: a prompt would have no effect there")
        folder.check_absent("text_encoder")
        folder.check_absent("tokenizer")
        return torch.zeros(1, folder.placeholders.text, width, device=device, dtype=dtype)
    tokenizer = folder.tokenizer(text.tokenizer)
    encoder = folder.model("text_encoder", text.encoder, device=device, dtype=dtype)
    if encoder.config.hidden_size != width:
        raise WeightsError(f"text states have {encoder.config.hidden_size} channels, but the UNet takes {width}")
    with quiet_libraries():
        length = len(tokenizer(prompt).input_ids)
        if length > text.tokens:
            raise ConfigError(
                f"the prompt has {length} tokens, of which the text encoder reads {text.tokens}: shorten it"
            )
        padded = tokenizer(prompt, padding="max_length", max_length=text.tokens, return_tensors="pt")
        return text.states(encoder, padded.input_ids.to(device), padded.attention_mask.to(device))


class ImageEmbedder:
    """CLIP's image encoder, or a stand-in that returns zeros if the folder declares it.

    Parameters
    ----------
    folder
        The pipeline's folder.
    width
        Number of channels of the embedding that the network takes.
    device, dtype
        Device and precision of the encoder.

    Attributes
    ----------
    size
        (height, width) in pixels of the images that the encoder takes.

    Raises
    ------
    WeightsError
        When the encoder or its preprocessing is missing or damaged, or does not fit the network.
    """

    size: tuple[int, int] = (224, 224)

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
        """Embed an image.

        Parameters
        ----------
        image
            (1, 3, height, width) of the encoder's size, float32, RGB in [0, 1], on the CPU. None gives zeros, which
            pipelines use as the unconditional embedding.

        Returns
        -------
        torch.Tensor
            (1, 1, channel).
        """
        if self._encoder is None or image is None:
            return self._zeros
        pixels = ((image - self._mean) / self._std).to(self._zeros)
        embedding: torch.Tensor = self._encoder(pixels).image_embeds
        return embedding[:, None]


def colour_statistics(settings: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and standard deviation of colours in [0, 1] from a processor's settings.

    Returns
    -------
    (torch.Tensor, torch.Tensor)
        Each (3, 1, 1), float32.

    Raises
    ------
    WeightsError
        When they are missing or invalid.
    """
    try:
        return _colour(settings["image_mean"]), _colour(settings["image_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"no usable image_mean and image_std in preprocessor_config.json: {error!r}") from error


def _colour(values: Sequence[float]) -> torch.Tensor:
    red, green, blue = values
    return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]
