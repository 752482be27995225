"""A small cache to look at, made in seconds: a synthetic video, the bundled models and their controls."""

from pathlib import Path

import torch

from ...extract.frame_size import FrameSize
from ...extract.settings import DEFAULT_OPTIONS, BackboneOptions, ExtractionSettings
from ...store.errors import TedError
from ..choices.features import parse_job
from ..datasets.davis import davis_sequences, davis_video
from ..datasets.video import Video
from ..runs.extracting.request import ExtractionRequest, Share
from ..runs.extracting.running import Failure, extract
from ..synthetic.scene import SceneSpec
from ..synthetic.writing import make_sets
from .collection import Collection, open_collection

__all__ = ["make_sample"]

#: Two identical objects; no video that models were trained, chosen or reported on.
_SCENE = SceneSpec(identical=True, seed=3)
_SETS = ("crossing",)

_VIDEO = "demo-video:300,500,700:up_blocks[1],up_blocks[2]"
_IMAGE = "demo-image:20:up_blocks[1],up_blocks[2]"
_NO_NETWORK = ("rgb:0:stride8", "position:0:stride8")
#: Frames of the size of the training for the video model; smaller ones for the others, whose grids are finer.
_SIZES = {_VIDEO: 256, _IMAGE: 128, **dict.fromkeys(_NO_NETWORK, 128)}


def make_sample(folder: Path) -> Collection:
    """Make a video of two identical objects, and its features: of the bundled models, and of controls.

    The controls are the video network untrained, the same without its temporal layers, colours, and explicit position.
    There is one video, and each feature is of one noise draw: enough to see how things work, too little to tell which
    features are better.

    Parameters
    ----------
    folder
        Gets ``data``, a DAVIS root, ``cache``, and what notebooks write. What is there is kept.

    Raises
    ------
    TedError
        When a step fails; the message says which and why.
    """
    root = folder / "data"
    if not (root / "statistics.csv").exists():  # which is written last
        for _ in make_sets(root, _SETS, 1, _SCENE, window=64.0):
            pass
    videos = [davis_video(root, name) for name in davis_sequences(root)]
    for feature in (_VIDEO, _IMAGE, *_NO_NETWORK):
        _extract(folder / "cache", videos, feature)
    _extract(folder / "cache", videos, _VIDEO, weights={"demo-video": "random:0"})
    _extract(folder / "cache", videos, _VIDEO, options=BackboneOptions(temporal=False))
    return open_collection(folder / "cache", root, folder=folder)


def _extract(
    cache: Path,
    videos: list[Video],
    feature: str,
    *,
    weights: dict[str, str] | None = None,
    options: BackboneOptions = DEFAULT_OPTIONS,
) -> None:
    settings = ExtractionSettings(frame_size=FrameSize(short_side=_SIZES[feature]))
    shares = tuple(Share(job=parse_job(feature), video=video) for video in videos)
    request = ExtractionRequest(cache=cache, shares=shares, weights=weights or {}, settings=settings, options=options)
    for result in extract(
        request, torch.device("cpu"), progress=lambda title, frames: lambda done: None, say=lambda text: None
    ):
        if isinstance(result, Failure):
            raise TedError(f"{result.share.name}: {result.reason}")
