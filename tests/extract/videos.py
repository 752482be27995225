"""Extract videos from memory into a cache, with simulated failures."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.frames import FrameSize
from ted.extract.plan import VideoPlan, plan_video
from ted.extract.settings import ExtractionSettings
from ted.extract.worker import ExtractionReport, VideoTask, extract_video, extract_videos
from ted.store import Cache, Unit, open_cache
from ted.store.errors import FrameError, TedError

from .conftest import ArrayFrames

ADM_TAP = "output_blocks[7]"
SVD_TAP = "up_blocks[2]"
SETTINGS = ExtractionSettings(frame_size=FrameSize(short_side=64), overlap=2, seed=5)


def plan(
    backbone: Backbone,
    source: ArrayFrames,
    *,
    timesteps: tuple[int, ...] = (51,),
    taps: tuple[str, ...] = (ADM_TAP,),
    **changes: Any,
) -> VideoPlan:
    settings = dataclasses.replace(SETTINGS, **changes)
    return plan_video(backbone, source, dataset="d", video="v", timesteps=timesteps, taps=taps, settings=settings)


def features(cache: Cache, backbone: Backbone, source: ArrayFrames, **choice: Any) -> list[np.ndarray]:
    planned = plan(backbone, source, **choice)
    extract_video(cache, backbone, source, planned)
    return [Unit(spec.folder(cache.root)).features.compute().astype(np.float32) for spec in planned.specs.values()]


def relative(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def new_cache(tmp_path: Path, name: str = "cache") -> Cache:
    return open_cache(tmp_path / name, create=True)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Scarce:
    """A backbone whose passes run out of memory if they have too many items, or at the n-th call."""

    def __init__(self, backbone: Backbone, most: int) -> None:
        self._backbone = backbone
        self.most = most
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def features(self, noisy: torch.Tensor, *args: Any, **options: Any) -> Any:
        self.sizes.append(len(noisy))
        if len(noisy) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._backbone.features(noisy, *args, **options)


def tasks(backbone: Any, sources: dict[str, ArrayFrames], **changes: Any) -> list[VideoTask]:
    return [
        VideoTask(
            name=name,
            source=source,
            plan=lambda name=name, source=source: plan_video(
                backbone,
                source,
                dataset="d",
                video=name,
                timesteps=(51,),
                taps=(ADM_TAP,),
                settings=dataclasses.replace(SETTINGS, **changes),
            ),
        )
        for name, source in sources.items()
    ]


def run(
    cache: Cache, backbone: Any, sources: dict[str, ArrayFrames], **options: Any
) -> dict[str, ExtractionReport | TedError]:
    todo = tasks(backbone, sources, **options.pop("changes", {}))
    return {task.name: result for task, result in extract_videos(cache, backbone, todo, **options)}


class Torn(ArrayFrames):
    def read(self, index: int) -> np.ndarray:
        if index == 2:
            raise FrameError("frame 2 cannot be decoded")
        return super().read(index)
