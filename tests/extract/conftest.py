"""Random frames in memory, and small backbones on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.clip_reader import ClipReader
from ted.extract.features import Averages, ClipEncoder, DeviceClip, latent_shape, run_pass
from ted.extract.frames import FrameSize
from ted.extract.plan import VideoPlan, plan_video
from ted.extract.settings import ExtractionSettings

from .pictures import Picture, picture, write_video
from .small_folders import SmallFolders


class ArrayFrames:
    """A `FrameSource` of frames in memory."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self.frames = frames
        self.names = tuple(f"{i:05d}" for i in range(len(frames)))
        self.size = (frames.shape[1], frames.shape[2])
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> NDArray[np.uint8]:
        self.reads.append(index)
        return self.frames[index]

    def digest(self, indices: Sequence[int] | None = None) -> str:
        chosen = self.frames if indices is None else self.frames[list(indices)]
        return str(abs(hash(chosen.tobytes())))


def random_frames(count: int, size: tuple[int, int] = (64, 64), seed: int = 0) -> ArrayFrames:
    rng = np.random.default_rng(seed)
    return ArrayFrames(rng.integers(0, 256, (count, *size, 3), dtype=np.uint8))


def make_plan(
    backbone: Backbone,
    source: ArrayFrames,
    frame_size: tuple[int, int],
    timesteps: Sequence[int] | None = None,
    taps: Sequence[str] | None = None,
    **settings: Any,
) -> VideoPlan:
    """Plan a video at an exact size; by default the first tap at the last timestep, without overlap of clips."""
    return plan_video(
        backbone,
        source,
        dataset="d",
        video="v",
        timesteps=timesteps or [len(backbone.schedule) - 1],
        taps=taps or [next(iter(backbone.taps))],
        settings=ExtractionSettings(**{"frame_size": FrameSize(exact=frame_size), "overlap": 0, **settings}),
    )


def load_clips(
    backbone: Backbone, source: ArrayFrames, plan: VideoPlan, wanted: Sequence[int]
) -> dict[int, DeviceClip]:
    """Read and encode the wanted clips of a plan, by index."""
    reader = ClipReader(backbone, source, plan, latent_shape(backbone, plan.request.frame_size))
    encoder = ClipEncoder(backbone, plan)
    return {host.index: encoder.encode(host) for host in reader.read(wanted)}


def features_of(
    backbone: Backbone,
    source: ArrayFrames,
    frame_size: tuple[int, int],
    timesteps: Sequence[int],
    taps: Sequence[str],
    *,
    seed: int = 0,
    draws: int = 1,
    batch_size: int = 1,
    **settings: Any,
) -> dict[tuple[int, str], torch.Tensor]:
    """Compute features (frame, channel, y, x) without a cache, threads or overlap of clips."""
    plan = make_plan(
        backbone, source, frame_size, timesteps, taps, seed=seed, ensemble=draws, batch_size=batch_size, **settings
    )
    loaded = load_clips(backbone, source, plan, range(len(plan.clips)))
    wanted = {index: set(plan.specs) for index in range(len(plan.clips))}
    averages = Averages(plan.clips, plan.request.ensemble, wanted, backbone.latent_of_frame)
    parts: dict[tuple[int, str], list[torch.Tensor]] = {}
    for number in range(len(plan.passes)):
        items = plan.passes.items(number)
        outputs = run_pass(backbone, items, loaded, taps)
        for found in averages.add(items[: plan.passes.real(number)], outputs):
            parts.setdefault((found.timestep, found.tap), []).append(found.values)
    return {key: torch.cat(values) for key, values in parts.items()}


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> SmallFolders:
    """Folders of small models; do not write to them."""
    return SmallFolders(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def weights(small_folder: SmallFolders) -> dict[str, Path]:
    return {name: small_folder(name, standins=name != "adm") for name in ("adm", "svd", "i2vgen-xl")}


@pytest.fixture(scope="session")
def adm(weights: dict[str, Path]) -> Backbone:
    return load_backbone("adm", weights["adm"], device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def svd(weights: dict[str, Path]) -> Backbone:
    return load_backbone("svd", weights["svd"], device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def pictures() -> list[Picture]:
    return [picture(48, 64, seed=i) for i in range(7)]


@pytest.fixture
def avi(tmp_path: Path, pictures: list[Picture]) -> Path:
    return write_video(tmp_path / "clip.avi", pictures)
