"""A cache with its videos: an existing one, or a small sample computed in seconds."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...extract.frame_size import FrameSize
from ...extract.settings import BackboneOptions, ExtractionSettings
from ...store import Cache, open_cache
from ...store.errors import ConfigError
from ..datasets.davis import davis_sequences, davis_video
from ..datasets.sources import Selection, Source, open_sources
from ..datasets.video import Video
from ..runs.extracting.running import extract_features
from ..synthetic.scene import SceneSpec
from ..synthetic.writing import make_sets

#: Two identical objects; no model was trained, chosen or evaluated on this seed.
_SCENE = SceneSpec(identical=True, seed=3)
_SETS = ("crossing",)

_VIDEO = "demo-video:300,500,700:up_blocks[1],up_blocks[2]"
_IMAGE = "demo-image:20:up_blocks[1],up_blocks[2]"
_NO_NETWORK = ("rgb:0:stride8", "position:0:stride8")
#: Short sides: the training's for the video model, smaller ones for the others, whose grids are finer.
_SIZES = {_VIDEO: 256, _IMAGE: 128, **dict.fromkeys(_NO_NETWORK, 128)}


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Data of a notebook: features, their videos, and a folder to write to (pictures, the journal of its sweeps)."""

    cache: Cache
    videos: tuple[Video, ...]
    folder: Path


def open_collection(
    cache: Path | str, source: Path | str, *, videos: Sequence[str] = (), folder: Path | None = None
) -> Collection:
    """Open a cache, and those videos of a source (as for `ted propagate`) whose features it has.

    `videos` selects some by name. The `folder` to write to is by default a new temporary one.

    Raises
    ------
    CacheError
        If there is no such cache.
    ConfigError
        If the source cannot be opened, or the cache has no features of its videos.
    """
    opened = open_cache(cache)
    known = set(opened.videos())
    found = open_sources([Source(path=Path(source))], Selection(videos=tuple(videos)))
    chosen = tuple(video for video in found if (video.dataset, video.name) in known)
    if not chosen:
        raise ConfigError(
            f"{opened.root} has no features of the videos of {source}: extract them with `ted extract {source}`"
        )
    return Collection(cache=opened, videos=chosen, folder=folder or Path(tempfile.mkdtemp(prefix="ted-notebook-")))


def make_sample(folder: Path) -> Collection:
    """Render a video of two identical objects, and extract its features with the bundled models and with controls.

    The controls are the untrained video network, the video network without temporal layers, colours, and explicit
    position. One video and one noise draw show how things work; they are too little to rank features. The folder gets
    ``data``, a DAVIS root, ``cache``, and files of notebooks. Existing files stay.

    Raises
    ------
    TedError
        If a step fails.
    """
    root = folder / "data"
    if not (root / "statistics.csv").exists():  # the file that is written last
        for _ in make_sets(root, _SETS, 1, _SCENE, window=64.0):
            pass
    videos = [davis_video(root, name) for name in davis_sequences(root)]
    jobs: list[tuple[str, dict[str, Any]]] = [(feature, {}) for feature in _SIZES]
    jobs += [(_VIDEO, {"weights": {"demo-video": "random:0"}}), (_VIDEO, {"options": BackboneOptions(temporal=False)})]
    for feature, variant in jobs:
        settings = ExtractionSettings(frame_size=FrameSize(short_side=_SIZES[feature]))
        extract_features(folder / "cache", videos, [feature], settings, **variant)
    return open_collection(folder / "cache", root, folder=folder)
