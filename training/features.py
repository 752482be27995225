"""Features of synthetic videos from the trained network and its controls, in one cache each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ted.extract.frame_size import FrameSize
from ted.extract.settings import DEFAULT_OPTIONS, BackboneOptions, ExtractionSettings
from ted.pipeline.choices.features import parse_choice, parse_job
from ted.pipeline.datasets.video import Video
from ted.pipeline.runs.extracting.request import ExtractionRequest, Share
from ted.pipeline.runs.extracting.running import Failure, extract
from ted.store import Unit, open_cache
from ted.store.errors import TedError

__all__ = ["FRAME_SIZE", "Network", "extract_features", "open_unit"]

#: Short side of the small models' frames in pixels.
FRAME_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network whose features are compared.

    Attributes
    ----------
    name
        Name of its cache: ``trained``, ``untrained``, ``no-temporal``, or ``still`` for all image backbones.
    weights
        Weights by backbone, as in ``--weights``.
    options
        Options of the video model.
    """

    name: str
    weights: dict[str, str]
    options: BackboneOptions = DEFAULT_OPTIONS


def extract_features(
    folder: Path, network: Network, videos: Sequence[Video], jobs: Sequence[str], *, ensemble: int, device: str
) -> None:
    """Extract features that are not in the cache yet.

    Parameters
    ----------
    folder
        Folder of the caches.
    network
        Network.
    videos
        Videos.
    jobs
        Features as ``BACKBONE:TIMESTEP,...:TAP,...``.
    ensemble
        Number of noise draws to average.
    device
        Device of the extraction.
    """
    parsed = [parse_job(job) for job in jobs]
    request = ExtractionRequest(
        cache=folder / network.name,
        shares=tuple(Share(job=job, video=video) for job in parsed for video in videos),
        weights=network.weights,
        settings=ExtractionSettings(frame_size=FrameSize(short_side=FRAME_SIZE), ensemble=ensemble),
        options=network.options,
    )
    results = extract(request, torch.device(device), progress=lambda _title, _count: lambda _done: None, say=print)
    for done, result in enumerate(results, start=1):
        if isinstance(result, Failure):
            raise TedError(result.reason)
        if done % 20 == 0:
            print(f"  {network.name}: {done} of {len(request.shares)}", flush=True)


def open_unit(folder: Path, network: Network, video: Video, feature: str) -> Unit:
    """Open the features ``BACKBONE:TIMESTEP:TAP`` of a video."""
    return open_cache(folder / network.name).find(video.dataset, video.name, parse_choice(feature))
