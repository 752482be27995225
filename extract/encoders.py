"""What surrounds a latent diffusion UNet: frames to latents, a prompt to text states, an image to CLIP's."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from ..store.errors import ConfigError, WeightsError
from .model_folder import ModelFolder, quiet_libraries
from .placeholders import PROMPT_TOKENS, PixelLatents

__all__ = ["FrameEncoder", "ImageEmbedder", "VaeLatents", "colour_statistics", "load_frame_encoder", "prompt_states"]


class FrameEncoder(Protocol):
    """Turns frames into latents.

    Attributes
    ----------
    scaling_factor
        What the UNet wants the latents multiplied by.
    """

    scaling_factor: float

    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (frame, 3, height, width) in [-1, 1] to unscaled latents (frame, channel, y, x), float32."""


class VaeLatents:
    """The mode of a VAE's posterior.

    Frames are encoded one by one, so that a frame's latents do not depend on which others were encoded with it.

    Parameters
    ----------
    vae
        A diffusers autoencoder on its device, in its precision.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self.scaling_factor = float(vae.config.scaling_factor)

    @torch.inference_mode()
    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (frame, 3, height, width) in [-1, 1] to unscaled latents (frame, channel, y, x), float32."""
        vae = self._vae
        frames = (pixels[i : i + 1].to(vae.device, vae.dtype) for i in range(len(pixels)))
        return torch.cat([vae.encode(frame).latent_dist.mode().float() for frame in frames])


def load_frame_encoder(
    folder: ModelFolder, cls: Any, *, channels: int, device: torch.device, dtype: torch.dtype, upcast: bool = False
) -> FrameEncoder:
    """Load the VAE, or what the folder declares to stand in for it.

    Parameters
    ----------
    folder
        The pipeline's folder.
    cls
        The VAE's class.
    channels
        Latent channels that the UNet wants.
    device, dtype
        Where and in which precision it runs.
    upcast
        Run in float32 instead of float16 where the VAE's configuration says ``force_upcast``.

    Raises
    ------
    WeightsError
        When the VAE is missing or damaged, or does not fit the UNet.
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


@torch.inference_mode()
def prompt_states(
    folder: ModelFolder, prompt: str, *, width: int, skip: int = 0, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the text states of a prompt; the text encoder itself is not kept.

    Parameters
    ----------
    folder
        The pipeline's folder.
    prompt
        The prompt, which may be empty.
    width
        Channels of the text states that the UNet wants.
    skip
        Last layers of the text encoder to leave out (``clip_skip`` of the diffusers pipelines).
    device, dtype
        Where and in which precision the encoder runs.

    Returns
    -------
    torch.Tensor
        (1, token, channel), `dtype`, on `device`.

    Raises
    ------
    WeightsError
        When the text encoder or the tokenizer is missing or damaged, or does not fit the UNet.
    ConfigError
        For a prompt that is longer than the text encoder reads, or that a stand-in would not see.
    """
    if folder.placeholders.text is not None:
        if prompt:
            raise ConfigError("the weights' folder declares zeros for all text: a prompt would have no effect there")
        folder.check_absent("text_encoder")
        folder.check_absent("tokenizer")
        return torch.zeros(1, folder.placeholders.text, width, device=device, dtype=dtype)
    tokenizer = folder.tokenizer()
    encoder = folder.model("text_encoder", CLIPTextModel, device=device, dtype=dtype)
    if encoder.config.hidden_size != width:
        raise WeightsError(f"text states have {encoder.config.hidden_size} channels, but the UNet takes {width}")
    with quiet_libraries():
        length = len(tokenizer(prompt).input_ids)
    if length > PROMPT_TOKENS:
        raise ConfigError(
            f"the prompt has {length} tokens, of which the text encoder reads {PROMPT_TOKENS}: shorten it"
        )
    tokens = tokenizer(prompt, padding="max_length", max_length=PROMPT_TOKENS, return_tensors="pt")
    with quiet_libraries():
        outputs = encoder(tokens.input_ids.to(device), output_hidden_states=True)
    if skip == 0:
        states: torch.Tensor = outputs.last_hidden_state
    else:
        # transformers up to 4 keeps the final norm one level down.
        states = getattr(encoder, "text_model", encoder).final_layer_norm(outputs.hidden_states[-(skip + 1)])
    return states


class ImageEmbedder:
    """CLIP's embedding of an image, or zeros where the folder declares them.

    Parameters
    ----------
    folder
        The pipeline's folder.
    width
        Channels of the embedding that the UNet wants.
    device, dtype
        Where and in which precision the encoder runs.

    Attributes
    ----------
    size
        (height, width) of the images that the encoder was made for.

    Raises
    ------
    WeightsError
        When the encoder or its preprocessing is missing or damaged, or does not fit the UNet.
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
        # Only these numbers of the processor are used: the pipelines resize in ways of their own.
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
            (1, 3, height, width) of the encoder's size, float32, RGB in [0, 1], on the CPU; None gives zeros, as the
            pipelines pass where they guide away from any image.

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
    """Read mean and standard deviation of the colours in [0, 1], each (3, 1, 1), float32, from a processor's settings.

    Raises
    ------
    WeightsError
        When they are missing or make no sense.
    """
    try:
        return _colour(settings["image_mean"]), _colour(settings["image_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"no usable image_mean and image_std in preprocessor_config.json: {error!r}") from error


def _colour(values: Sequence[float]) -> torch.Tensor:
    red, green, blue = values
    return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]
