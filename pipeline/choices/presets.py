"""Published settings by name: TED (Table 6 of the first version, Table 4 of the newest), DIFT, DINOv3, CRW's JHMDB.

`drift` and `drift-sam` are reconstructions: their paper states neither layers nor timestep
(docs/reference/attention.md).
"""

import difflib
from dataclasses import dataclass, replace
from typing import Literal

#: DIFT's number of last frames; TED does not state its own.
_CONTEXT = 28


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published setting of extraction and propagation; the other fields are those of `PropagationSettings`."""

    video_feature: str | None = None  # BACKBONE:TIMESTEP:TAP of the two parts; None if a method has no such part
    image_feature: str
    ensemble: int = 1  # number of noise draws whose features are averaged
    overlap: int = 0  # number of frames that neighbouring clips share
    alpha: float = 0.0  # weight of the video feature
    temperature: float
    top_k: int = 10
    radius: int = 15
    context: int = _CONTEXT
    window: Literal["square", "circle"] = "square"
    unrestricted_first: bool = False
    context_fill: bool = False
    frame_size: str | None = None  # in the notation of `FrameSize.parse`; None for the backbone's default
    layers: tuple[str, ...] = ()  # features of equal weight instead of the two parts, unless a command is given others
    kernel: str = "cosine"
    kernel_options: tuple[str, ...] = ()  # NAME=VALUE
    noising: str = "random"  # in the notation of `parse_noising`
    refiner: str | None = None  # in the notation of `get_refiner`
    embeddings: tuple[str, ...] = ()  # features that the refiner reads, which are not fused

    @property
    def features(self) -> tuple[str, ...]:
        """The features of the method."""
        return self.layers or tuple(part for part in (self.video_feature, self.image_feature) if part is not None)

    @property
    def extracted(self) -> tuple[str, ...]:
        """The features to extract: those of the method, and those that its refiner reads."""
        return self.features + self.embeddings

    @property
    def preferences(self) -> list[tuple[str, str]]:
        """Fields that decide between several units of a feature, as in `Cache.find`."""
        noise = [] if self.noising == "random" else [("noise", self.noising)]
        return [("ensemble", str(self.ensemble)), ("clip_overlap", str(self.overlap)), *noise]


def _ted(timestep: int, alpha: float, temperature: float, ensemble: int, overlap: int) -> Preset:
    return Preset(
        video_feature=f"i2vgen-xl:{timestep}:up_blocks[2]",
        image_feature="adm:51:output_blocks[7]",
        ensemble=ensemble,
        overlap=overlap,
        alpha=alpha,
        temperature=temperature,
    )


_PAPER = {"davis": (300, 0.4, 0.2), "youtube-similar": (600, 0.6, 0.1), "kubric-similar": (900, 1.0, 0.1)}

#: Noise draws and overlap. The efficient setting of the paper's first version has no overlap, that of the newest has.
_QUALITIES = {"efficient": (1, 2), "efficient-v1": (1, 0), "best": (4, 2)}

#: The layers that SLiMe and zvos read for segments, at the stride of the latents.
_DRIFT_LAYERS = tuple(f"sd21:101:up_blocks[3].attentions[{i}].attn1:qk" for i in range(3))

#: Published settings by name.
PRESETS: dict[str, Preset] = {
    f"{name}-{quality}": _ted(*values, *cost) for name, values in _PAPER.items() for quality, cost in _QUALITIES.items()
} | {
    # The paper does not state its settings for JHMDB: those of YouTube-Similar, with CRW's rules for the context.
    "jhmdb": replace(
        _ted(*_PAPER["youtube-similar"], *_QUALITIES["best"]),
        window="circle",
        unrestricted_first=True,
        context_fill=True,
    ),
    # Nor for VIP: again those of YouTube-Similar, with the frame size, context and temperature of UVC and CRW.
    "vip": replace(
        _ted(*_PAPER["youtube-similar"], *_QUALITIES["best"]),
        temperature=0.2,
        context=1,
        unrestricted_first=True,
        frame_size="~560",
    ),
    # Without a network: chosen in docs/evidence/no-network.md.
    "colours": Preset(
        video_feature="position:0:stride8",
        image_feature="rgb:0:stride8",
        alpha=0.4,
        temperature=0.05,
        radius=12,
        context=5,
    ),
    # The settings of DINO's evaluation on DAVIS-2017.
    "dinov2": Preset(
        image_feature="dinov2:0:last_hidden_state",
        temperature=0.1,
        top_k=5,
        radius=12,
        context=7,
    ),
    "dinov3": Preset(
        image_feature="dinov3:0:last_hidden_state",
        temperature=0.2,
        top_k=5,
        radius=12,
        context=7,
        window="circle",
        frame_size="960",
    ),
    "dift-adm": Preset(image_feature="adm:51:output_blocks[7]", ensemble=4, temperature=0.1),
    "dift-sd": Preset(image_feature="sd21:51:up_blocks[2]", ensemble=8, temperature=0.2, top_k=15),
    "drift": Preset(
        image_feature=_DRIFT_LAYERS[1],
        temperature=0.2,
        context=7,
        layers=_DRIFT_LAYERS,
        kernel="attention",
        noising="ddim-inversion:steps=50",
    ),
}

PRESETS["drift-sam"] = replace(
    PRESETS["drift"], refiner="sam", embeddings=("sam:0:embedding,high_resolution[0],high_resolution[1]",)
)

#: Name of the preset that commands use unless another is given.
DEFAULT = "davis-efficient"

#: The paper's headline figures are the best settings.
ALIASES = {name: f"{name}-best" for name in _PAPER}


def get_preset(name: str) -> Preset:
    """Return a preset; raises ConfigError for an unknown name, with the nearest known ones."""
    from ...store.errors import ConfigError  # imports the store, which help pages do not need

    key = ALIASES.get(name, name)
    if key not in PRESETS:
        near = difflib.get_close_matches(name, [*PRESETS, *ALIASES], n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(PRESETS)}"
        raise ConfigError(f"there is no preset {name!r}; {hint}")
    return PRESETS[key]
