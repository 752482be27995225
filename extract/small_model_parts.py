"""Parts of small models: the parts of published models with fewer channels and layers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from .model_folder import quiet_libraries
from .random_weights import draw_parameters

__all__ = ["MODELS", "Part", "write_json"]

#: Number of channels of text states and of image embeddings.
_WIDTH = 32

#: Number of channels of each level of the UNets.
_CHANNELS = (32, 64, 64, 64)

#: The tokenizer's printable characters.
_CHARACTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a pipeline.

    Attributes
    ----------
    library, class_name
        Its class in the pipeline's index.
    write
        Writes the part into a folder, with weights drawn from a generator.
    """

    library: str
    class_name: str
    write: Callable[[Path, torch.Generator], None]


def _model(class_name: str, make: Callable[[], Any], *, library: str = "diffusers") -> Part:
    def write(folder: Path, generator: torch.Generator) -> None:
        with quiet_libraries():
            with torch.random.fork_rng(devices=[]):  # the library draws initial weights
                model = make()
            draw_parameters(model, generator)
            if hasattr(model, "quant_conv"):
                model.quant_conv.weight.data *= 10  # latents of published VAEs have a standard deviation of about 5
            model.save_pretrained(folder)

    return Part(library=library, class_name=class_name, write=write)


def _settings(library: str, class_name: str, name: str, settings: Mapping[str, Any]) -> Part:
    def write(folder: Path, _generator: torch.Generator) -> None:
        write_json(folder / name, {"_class_name": class_name, **settings} if library == "diffusers" else settings)

    return Part(library=library, class_name=class_name, write=write)


def _scheduler(class_name: str, **settings: Any) -> Part:
    common = {"num_train_timesteps": 1000, "prediction_type": "v_prediction", "steps_offset": 1, "trained_betas": None}
    return _settings("diffusers", class_name, "scheduler_config.json", {**common, **settings})


def _write_tokenizer(folder: Path, _generator: torch.Generator) -> None:
    """Write CLIP's tokenizer without merges; its tokens are single characters, inside and at the end of a word."""
    words = [*_CHARACTERS, *(f"{character}</w>" for character in _CHARACTERS), "<|startoftext|>", "<|endoftext|>"]
    special = dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    special["bos_token"] = "<|startoftext|>"
    write_json(folder / "vocab.json", {word: i for i, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json", {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    )
    # The published files disagree on padding; this file takes precedence.
    write_json(folder / "special_tokens_map.json", {**special, "pad_token": "!"})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


_TOKENIZER = Part(library="transformers", class_name="CLIPTokenizer", write=_write_tokenizer)
_TEXT_ENCODER = _model(
    "CLIPTextModel",
    lambda: transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=2 * len(_CHARACTERS) + 2,
            hidden_size=_WIDTH,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            hidden_act="gelu",
            bos_token_id=2 * len(_CHARACTERS),
            eos_token_id=2 * len(_CHARACTERS) + 1,
            pad_token_id=0,
        )
    ),
    library="transformers",
)
_IMAGE_ENCODER = _model(
    "CLIPVisionModelWithProjection",
    lambda: transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
            projection_dim=_WIDTH,
            hidden_act="gelu",
        )
    ),
    library="transformers",
)
_FEATURE_EXTRACTOR = _settings(
    "transformers",
    "CLIPImageProcessor",
    "preprocessor_config.json",
    {
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 224},
    },
)
_VAE = _model(
    "AutoencoderKL",
    lambda: diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
    ),
)
_TEMPORAL_VAE = _model(
    "AutoencoderKLTemporalDecoder",
    lambda: diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32),  # its normalisations have 32 groups
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=1,
    ),
)
_I2VGEN_XL_UNET = _model(
    "I2VGenXLUNet",
    lambda: diffusers.I2VGenXLUNet(
        block_out_channels=_CHANNELS,
        cross_attention_dim=_WIDTH,
        attention_head_dim=16,
        layers_per_block=1,
        norm_num_groups=16,
    ),
)
_SVD_UNET = _model(
    "UNetSpatioTemporalConditionModel",
    lambda: diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=_CHANNELS,
        cross_attention_dim=_WIDTH,
        num_attention_heads=(2, 4, 4, 4),
        layers_per_block=1,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
        num_frames=14,
    ),
)
_SD21_UNET = _model(
    "UNet2DConditionModel",
    lambda: diffusers.UNet2DConditionModel(
        block_out_channels=_CHANNELS,
        cross_attention_dim=_WIDTH,
        attention_head_dim=(2, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=16,
        use_linear_projection=True,
    ),
)

_DINOV2 = _model(
    "Dinov2Model",
    lambda: transformers.Dinov2Model(
        transformers.Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=70)
    ),
    library="transformers",
)
_DINOV3 = _model(
    "DINOv3ViTModel",
    lambda: transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            hidden_size=32, intermediate_size=128, num_hidden_layers=3, num_attention_heads=2, num_register_tokens=4
        )
    ),
    library="transformers",
)
_IMAGE_PROCESSOR = _settings(
    "transformers",
    "BitImageProcessor",
    "preprocessor_config.json",
    {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
)

#: Pipeline class and parts, by backbone. Without a pipeline, the parts lie in the folder itself.
MODELS: Mapping[str, tuple[str | None, Mapping[str, Part]]] = {
    "dinov2": (None, {"model": _DINOV2, "feature_extractor": _IMAGE_PROCESSOR}),
    "dinov3": (None, {"model": _DINOV3, "feature_extractor": _IMAGE_PROCESSOR}),
    "i2vgen-xl": (
        "I2VGenXLPipeline",
        {
            "unet": _I2VGEN_XL_UNET,
            "vae": _VAE,
            "text_encoder": _TEXT_ENCODER,
            "tokenizer": _TOKENIZER,
            "image_encoder": _IMAGE_ENCODER,
            "feature_extractor": _FEATURE_EXTRACTOR,
            "scheduler": _scheduler(
                "DDIMScheduler",
                beta_schedule="squaredcos_cap_v2",
                clip_sample=False,
                rescale_betas_zero_snr=True,
                set_alpha_to_one=True,
                timestep_spacing="leading",
            ),
        },
    ),
    "svd": (
        "StableVideoDiffusionPipeline",
        {
            "unet": _SVD_UNET,
            "vae": _TEMPORAL_VAE,
            "image_encoder": _IMAGE_ENCODER,
            "feature_extractor": _FEATURE_EXTRACTOR,
            "scheduler": _scheduler(
                "EulerDiscreteScheduler",
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                interpolation_type="linear",
                sigma_max=700.0,
                sigma_min=0.002,
                timestep_spacing="leading",
                timestep_type="continuous",
                use_karras_sigmas=True,
            ),
        },
    ),
    "sd21": (
        "StableDiffusionPipeline",
        {
            "unet": _SD21_UNET,
            "vae": _VAE,
            "text_encoder": _TEXT_ENCODER,
            "tokenizer": _TOKENIZER,
            "scheduler": _scheduler(
                "DDIMScheduler",
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
            ),
        },
    ),
}
