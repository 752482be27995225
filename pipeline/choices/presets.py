"""The papers' settings by name (TED, Table 6 of the first version, Table 4 of the newest; DIFT's command lines)."""

import difflib
from dataclasses import dataclass

from ...store.errors import ConfigError

__all__ = ["ALIASES", "PRESETS", "Preset", "get_preset"]

#: DIFT's number of last frames; TED does not state its own.
_CONTEXT = 28


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that a published setting fixes.

    Attributes
    ----------
    video_feature, image_feature
        ``BACKBONE:TIMESTEP:TAP`` of the two parts; None where a method has no such part.
    ensemble
        Noise draws averaged.
    overlap
        Frames shared by neighbouring clips.
    alpha, temperature, top_k, radius, context
        Parameters of propagation.
    """

    video_feature: str | None
    image_feature: str
    ensemble: int
    overlap: int
    alpha: float
    temperature: float
    top_k: int = 10
    radius: int = 15
    context: int = _CONTEXT

    @property
    def features(self) -> tuple[str, ...]:
        """The parts that exist."""
        return tuple(part for part in (self.video_feature, self.image_feature) if part is not None)


def _ted(timestep: int, alpha: float, temperature: float, ensemble: int) -> Preset:
    return Preset(
        video_feature=f"i2vgen-xl:{timestep}:up_blocks[2]",
        image_feature="adm:51:output_blocks[7]",
        ensemble=ensemble,
        overlap=2,
        alpha=alpha,
        temperature=temperature,
    )


_PAPER = {"davis": (300, 0.4, 0.2), "youtube-similar": (600, 0.6, 0.1), "kubric-similar": (900, 1.0, 0.1)}

#: Published settings by name. TED's come as ``-efficient`` (one noise draw) and ``-best`` (four averaged).
PRESETS: dict[str, Preset] = {
    f"{name}-{quality}": _ted(*values, ensemble)
    for name, values in _PAPER.items()
    for quality, ensemble in (("efficient", 1), ("best", 4))
} | {
    "dift-adm": Preset(
        video_feature=None, image_feature="adm:51:output_blocks[7]", ensemble=4, overlap=0, alpha=0.0, temperature=0.1
    ),
    "dift-sd": Preset(
        video_feature=None,
        image_feature="sd21:51:up_blocks[2]",
        ensemble=8,
        overlap=0,
        alpha=0.0,
        temperature=0.2,
        top_k=15,
    ),
}

#: The paper's headline figures are the best settings.
ALIASES = {name: f"{name}-best" for name in _PAPER}


def get_preset(name: str) -> Preset:
    """Return a preset; raises ConfigError for an unknown name, with the nearest known ones."""
    key = ALIASES.get(name, name)
    if key not in PRESETS:
        near = difflib.get_close_matches(name, [*PRESETS, *ALIASES], n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(PRESETS)}"
        raise ConfigError(f"there is no preset {name!r}; {hint}")
    return PRESETS[key]
