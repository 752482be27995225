"""Write small backbones with random weights, in the layout of the published ones, for tests and demonstrations.

Their parts are those of the published models with fewer channels and layers.
"""

import dataclasses
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from ..store.durable import explain_os_errors
from ..store.errors import ConfigError, TedError
from .backbones import backbone_info
from .backbones.adm_checkpoint import checkpoint_shapes
from .backbones.adm_config import AdmConfig, build_unet
from .model_folder import quiet_libraries
from .placeholders import DECLARATIONS
from .random_weights import draw_parameters, draw_tensor

#: A narrow ADM with the depth of the published one, so that its taps have the same names and strides.
SMALL_ADM = AdmConfig(image_size=64, num_channels=32, channel_mult=(1, 1, 1, 2, 2, 2), num_head_channels=32)

#: Placeholder declarations for omitted parts.
_DECLARED: Mapping[str, Mapping[str, Any]] = {
    "vae": {"vae": {"area_average": 8}},
    "text_encoder": {"text": "zeros"},
    "tokenizer": {"text": "zeros"},
    "image_encoder": {"image": "zeros"},
    "feature_extractor": {"image": "zeros"},
}


def make_small(name: str, folder: Path, *, seed: int = 0, standins: bool = False) -> Path:
    """Write a small backbone with random weights; the folder appears whole or not at all.

    The folder has the layout of the published weights, the same scheduler configuration, and UNets with as many levels.
    Every parameter is random, including those that are usually initialised with zero or one, such as the last layer of
    a temporal block. Otherwise a test of that block could pass without effect.

    Parameters
    ----------
    name
        A backbone of the registry.
    folder
        The folder to write: empty or new.
    seed
        Seed of the weights, which are the same on every machine.
    standins
        Omit VAE and encoders, and declare placeholders for them (see `placeholders`). ADM and DINO have none.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        For a backbone without a small model, and for a folder that is not empty.
    CacheError, TedError
        When the folder cannot be written, as on a full disk.
    """
    backbone_info(name)
    if name != "adm" and name not in MODELS:
        raise ConfigError(f"there is no small model of backbone {name!r}, only of: {', '.join([*MODELS, 'adm'])}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; choose another, so that nothing is overwritten")
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with explain_os_errors(f"write {folder}"):
            partial.mkdir(parents=True)
            generator = torch.Generator().manual_seed(seed)
            _write_adm(partial, generator) if name == "adm" else _write_parts(name, partial, generator, standins)
            partial.replace(folder)
    except (SafetensorError, RuntimeError) as error:  # the libraries' errors on a full disk
        raise TedError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_parts(name: str, folder: Path, generator: torch.Generator, standins: bool) -> None:
    """Write the parts of a pipeline into subfolders, or a single model into the folder itself."""
    pipeline, parts = MODELS[name]
    if pipeline is None:
        for part in parts.values():
            part.write(folder, generator)
        return
    absent = [part for part in parts if part in _DECLARED] if standins else []
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    for part_name, part in parts.items():
        if part_name in absent:
            index[part_name] = [None, None]
            continue
        (folder / part_name).mkdir()
        part.write(folder / part_name, generator)
        index[part_name] = [part.library, part.class_name]
    _write_json(folder / "model_index.json", index)
    if absent:
        _write_json(folder / DECLARATIONS, {key: value for part in absent for key, value in _DECLARED[part].items()})


def _write_adm(folder: Path, generator: torch.Generator) -> None:
    """Write `model.pt`, with guided-diffusion's names, and `config.json`."""
    with torch.device("meta"):
        shapes = checkpoint_shapes(SMALL_ADM, build_unet(SMALL_ADM).state_dict())
    tensors = {name: draw_tensor(name, shape, generator) for name, shape in shapes.items()}
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(SMALL_ADM), indent=1) + "\n", encoding="utf-8")
    torch.save(tensors, folder / "model.pt")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


class _Part(NamedTuple):
    """One part of a pipeline: its class in the pipeline's index, and how it is written into a folder."""

    library: str
    class_name: str
    write: Callable[[Path, torch.Generator], None]


def _model(library: ModuleType, class_name: str, **config: Any) -> _Part:
    """Return a model of this configuration, with weights drawn from the generator."""

    def write(folder: Path, generator: torch.Generator) -> None:
        with quiet_libraries():
            cls = getattr(library, class_name)
            with torch.random.fork_rng(devices=[]):  # the library draws initial weights, and random buffers
                torch.manual_seed(generator.initial_seed())
                model = cls(cls.config_class(**config)) if library is transformers else cls(**config)
            draw_parameters(model, generator)
            if hasattr(model, "quant_conv"):
                model.quant_conv.weight.data *= 10  # latents of published VAEs have a standard deviation of about 5
            model.save_pretrained(folder)

    return _Part(library.__name__, class_name, write)


def _scheduler(class_name: str, **settings: Any) -> _Part:
    common = {"num_train_timesteps": 1000, "prediction_type": "v_prediction", "steps_offset": 1, "trained_betas": None}
    values = {"_class_name": class_name, **common, **settings}
    return _Part("diffusers", class_name, lambda folder, _: _write_json(folder / "scheduler_config.json", values))


def _preprocessor(class_name: str, **settings: Any) -> _Part:
    return _Part(
        "transformers", class_name, lambda folder, _: _write_json(folder / "preprocessor_config.json", settings)
    )


#: Number of channels of text states and of image embeddings.
_WIDTH = 32

#: The tokenizer's printable characters.
_CHARACTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]


def _write_tokenizer(folder: Path, _generator: torch.Generator) -> None:
    """Write CLIP's tokenizer without merges; its tokens are single characters, inside and at the end of a word."""
    words = [*_CHARACTERS, *(f"{character}</w>" for character in _CHARACTERS), "<|startoftext|>", "<|endoftext|>"]
    special = dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    special["bos_token"] = "<|startoftext|>"
    _write_json(folder / "vocab.json", {word: i for i, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json", {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    )
    # The published files disagree on padding; this file takes precedence.
    _write_json(folder / "special_tokens_map.json", {**special, "pad_token": "!"})


_TEXT = {
    "text_encoder": _model(
        transformers,
        "CLIPTextModel",
        vocab_size=2 * len(_CHARACTERS) + 2,
        hidden_size=_WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act="gelu",
        bos_token_id=2 * len(_CHARACTERS),
        eos_token_id=2 * len(_CHARACTERS) + 1,
        pad_token_id=0,
    ),
    "tokenizer": _Part("transformers", "CLIPTokenizer", _write_tokenizer),
}
_IMAGE = {
    "image_encoder": _model(
        transformers,
        "CLIPVisionModelWithProjection",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=224,
        patch_size=56,
        projection_dim=_WIDTH,
        hidden_act="gelu",
    ),
    "feature_extractor": _preprocessor(
        "CLIPImageProcessor",
        crop_size={"height": 224, "width": 224},
        do_center_crop=True,
        do_convert_rgb=True,
        do_normalize=True,
        do_rescale=True,
        do_resize=True,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_processor_type="CLIPImageProcessor",
        image_std=[0.26862954, 0.26130258, 0.27577711],
        resample=3,
        rescale_factor=1 / 255,
        size={"shortest_edge": 224},
    ),
}
_VAE = _model(
    diffusers,
    "AutoencoderKL",
    block_out_channels=(8, 8, 16, 16),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=1,
    norm_num_groups=4,
)
_UNET: dict[str, Any] = {
    "block_out_channels": (32, 64, 64, 64),
    "cross_attention_dim": _WIDTH,
    "layers_per_block": 1,
}
_BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_SAM_SIDE = 64
_SAM2 = _model(
    transformers,
    "Sam2Model",
    vision_config={
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "image_size": [_SAM_SIDE] * 2,
            "hidden_size": 8,
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 24, 32],
            "num_attention_heads_per_stage": [1, 2, 2, 2],
            "window_size_per_stage": [4, 4, 4, 2],
            "window_positional_embedding_background_size": [4, 4],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[_SAM_SIDE // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": _WIDTH,
    },
    prompt_encoder_config={"hidden_size": _WIDTH, "image_size": _SAM_SIDE},
    mask_decoder_config={
        "hidden_size": _WIDTH,
        "mlp_dim": 64,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": _WIDTH,
    },
)
_SAM2_PROCESSOR = _preprocessor(
    "Sam2ImageProcessor",
    image_processor_type="Sam2ImageProcessor",
    image_mean=[0.485, 0.456, 0.406],
    image_std=[0.229, 0.224, 0.225],
    size={"height": _SAM_SIDE, "width": _SAM_SIDE},
)
_DINO: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
_DINO_PROCESSOR = _preprocessor("BitImageProcessor", image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])

#: Pipeline class and parts, by backbone. Without a pipeline, the parts lie in the folder itself.
MODELS: Mapping[str, tuple[str | None, Mapping[str, _Part]]] = {
    "dinov2": (
        None,
        {"model": _model(transformers, "Dinov2Model", image_size=70, **_DINO), "feature_extractor": _DINO_PROCESSOR},
    ),
    "dinov3": (
        None,
        {
            "model": _model(transformers, "DINOv3ViTModel", intermediate_size=128, num_register_tokens=4, **_DINO),
            "feature_extractor": _DINO_PROCESSOR,
        },
    ),
    "sam": (None, {"model": _SAM2, "feature_extractor": _SAM2_PROCESSOR}),
    "i2vgen-xl": (
        "I2VGenXLPipeline",
        {
            "unet": _model(diffusers, "I2VGenXLUNet", attention_head_dim=16, norm_num_groups=16, **_UNET),
            "vae": _VAE,
            **_TEXT,
            **_IMAGE,
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
            "unet": _model(
                diffusers,
                "UNetSpatioTemporalConditionModel",
                num_attention_heads=(2, 4, 4, 4),
                addition_time_embed_dim=32,
                projection_class_embeddings_input_dim=96,
                num_frames=14,
                **_UNET,
            ),
            "vae": _model(
                diffusers,
                "AutoencoderKLTemporalDecoder",
                block_out_channels=(32, 32, 32, 32),  # its normalisations have 32 groups
                down_block_types=("DownEncoderBlock2D",) * 4,
                layers_per_block=1,
            ),
            **_IMAGE,
            "scheduler": _scheduler(
                "EulerDiscreteScheduler",
                **_BETAS,
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
            "unet": _model(
                diffusers,
                "UNet2DConditionModel",
                attention_head_dim=(2, 4, 4, 4),
                norm_num_groups=16,
                use_linear_projection=True,
                **_UNET,
            ),
            "vae": _VAE,
            **_TEXT,
            "scheduler": _scheduler("DDIMScheduler", **_BETAS, clip_sample=False, set_alpha_to_one=False),
        },
    ),
}
