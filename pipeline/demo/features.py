"""What the demo tracks with: features of the bundled models, and a control that nothing was learned for."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["METHODS", "SETTINGS", "Method", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all methods share; chosen on videos of `ted synth --seed 1` (docs/evidence/small-models.md).

    Attributes
    ----------
    frame_size
        Short side of the frames, in pixels, that features are of; smaller than what suits best (256), for speed.
    video_frame_size
        The same for the video model: the size of the objects that it was trained on.
    ensemble
        Noise draws averaged.
    temperature, top_k, radius
        Of the propagation.
    """

    frame_size: int = 128
    video_frame_size: int = 256
    ensemble: int = 4
    temperature: float = 0.1
    top_k: int = 10
    radius: int = 8


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of tracking.

    Attributes
    ----------
    title
        For people.
    features
        Weights by ``BACKBONE:TIMESTEP:TAP``.
    """

    title: str
    features: Mapping[str, float]


SETTINGS = Settings()

_VIDEO, _IMAGE, _POSITION = "demo-video:700:up_blocks[1]", "demo-image:20:up_blocks[2]", "position:0:stride4"
_ALPHA = 0.25

#: By name, which is also that of the folder of results.
METHODS: Mapping[str, Method] = {
    "image": Method(title="image features", features={_IMAGE: 1.0}),
    "video": Method(title="video features", features={_VIDEO: 1.0}),
    "fused": Method(title=f"fused, alpha {_ALPHA:g}", features={_VIDEO: _ALPHA, _IMAGE: 1 - _ALPHA}),
    "image-position": Method(title="control: image + position", features={_POSITION: 0.5, _IMAGE: 0.5}),
    "colours-position": Method(title="control: colours + position", features={_POSITION: 0.5, "rgb:0:stride4": 0.5}),
}
