"""Videos, features and settings of the demo."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..datasets.davis import davis_video
from ..datasets.video import Video
from ..synthetic.rendering import render
from ..synthetic.scene import SceneSpec
from ..synthetic.sets import set_specs
from ..synthetic.writing import write_davis


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of all methods, chosen on videos of `ted synth --seed 1` (docs/evidence/small-models.md)."""

    frame_size: int = 128  # short side of the frames in pixels. 256 would give better features; 128 is faster.
    video_frame_size: int = 256  # short side for the video model, so that objects have the size of its training
    ensemble: int = 4  # number of noise draws to average
    # temperature, top_k, radius: settings of propagation
    temperature: float = 0.1
    top_k: int = 10
    radius: int = 8


@dataclass(frozen=True, kw_only=True)
class Method:
    """Features to track with: a title, and the weight of each ``BACKBONE:TIMESTEP:TAP``."""

    title: str
    features: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class VideoKind:
    """A kind of video: a title, the set of `ted synth` that the videos are the first ones of, and the objects."""

    title: str
    set_name: str
    scene: SceneSpec


SETTINGS = Settings()

_VIDEO, _IMAGE, _POSITION = "demo-video:700:up_blocks[1]", "demo-image:20:up_blocks[2]", "position:0:stride4"
_ALPHA = 0.25

#: Methods by the name of their folder of results.
METHODS: Mapping[str, Method] = {
    "image": Method(title="image features", features={_IMAGE: 1.0}),
    "video": Method(title="video features", features={_VIDEO: 1.0}),
    "fused": Method(title=f"fused, alpha {_ALPHA:g}", features={_VIDEO: _ALPHA, _IMAGE: 1 - _ALPHA}),
    "image-position": Method(title="control: image + position", features={_POSITION: 0.5, _IMAGE: 0.5}),
    "colours-position": Method(title="control: colours + position", features={_POSITION: 0.5, "rgb:0:stride4": 0.5}),
}

#: Seed of videos that were used neither to choose settings nor to report results.
_SEED = 2

KINDS: Mapping[str, VideoKind] = {
    "identical": VideoKind(
        title="two identical objects that cross", set_name="crossing", scene=SceneSpec(identical=True, seed=_SEED)
    ),
    "distinct": VideoKind(
        title="two distinct objects", set_name="random", scene=SceneSpec(identical=False, shape="mixed", seed=_SEED)
    ),
}


def make_videos(root: Path, count: int) -> dict[str, list[Video]]:
    """Render `count` videos of each kind into a DAVIS root, created if absent; return them by the name of the kind."""
    made: dict[str, list[Video]] = {}
    for name, kind in KINDS.items():
        made[name] = []
        for number, spec in enumerate(set_specs(kind.set_name, count, kind.scene).values(), start=1):
            clip = render(spec)
            write_davis(root, f"{name}-{number}", clip.frames, clip.masks)
            made[name].append(davis_video(root, f"{name}-{number}"))
    return made
