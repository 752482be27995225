"""The run record: what may differ between equal requests, kept beside the features."""

import platform
import socket
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from .backbones.base import Backbone

__all__ = ["describe_run"]

_PACKAGES = ("ted-tracking", "torch", "diffusers", "transformers", "zarr", "numpy", "opencv-python-headless")


def describe_run(
    backbone: Backbone,
    *,
    batch_size: int,
    started: str,
    seconds: float,
    frames: int,
    waited: Mapping[str, float],
) -> dict[str, Any]:
    """Describe the run that finished a unit.

    Parameters
    ----------
    backbone
        Says where it was computed.
    batch_size
        Items in a pass.
    started
        Date and time (UTC).
    seconds
        Wall time of the video.
    frames
        Frames computed in this run; fewer than the video has when it was resumed.
    waited
        Seconds without anything to compute, by what was waited for.
    """
    device = backbone.device
    record: dict[str, Any] = {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "batch_size": batch_size,
        "started": started,
        "seconds": round(seconds, 3),
        "frames_computed": frames,
        "waited": {what: round(time, 3) for what, time in waited.items()},
    }
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        record["cuda"] = {"runtime": torch.version.cuda, "cudnn": cudnn}
    return record
