"""Import features of other programs: one array for each video, in a `.npy` or `.pt` file."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extract.frames import FrameSize, processed_size
from ...store import Cache, FeatureChoice, FeatureRequest, UnitSpec
from ...store.errors import ConfigError, FrameError
from ..choices.features import parse_choice
from ..choices.hints import plural
from ..datasets.video import Video

#: Orders of axes that imported arrays can have, and the permutation to (frame, y, x, channel).
LAYOUTS: Mapping[str, tuple[int, int, int, int]] = {"fcyx": (0, 2, 3, 1), "fyxc": (0, 1, 2, 3)}


def read_array(path: Path, layout: str) -> NDArray[Any]:
    """Read an array of features lazily, (frame, y, x, channel); code in the file is not run.

    The file is a ``.npy``, or a ``.pt`` that holds one tensor; `layout` names its axes (`LAYOUTS`). Raises FrameError
    when the file does not contain one four-dimensional array of floats.
    """
    try:
        if path.suffix == ".npy":
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            if not isinstance(tensor, torch.Tensor):
                raise FrameError(f"{path} contains a {type(tensor).__name__}: save the tensor itself with torch.save")
            array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
    except (OSError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise FrameError(f"cannot read features from {path}: {str(error).splitlines()[0]}") from error
    if array.ndim != 4 or not np.issubdtype(array.dtype, np.floating) or 0 in array.shape:
        raise FrameError(f"{path} contains {array.dtype} of shape {array.shape}: floats with four axes are needed")
    return array.transpose(LAYOUTS[layout])


def find_array(folder: Path, video: str) -> Path:
    """Return the file of a video's features, ``VIDEO.npy`` or ``VIDEO.pt``; raises ConfigError if there is none."""
    for suffix in (".npy", ".pt"):
        path = folder / f"{video}{suffix}"
        if path.is_file() and path.parent.resolve() == folder.resolve():
            return path
    raise ConfigError(f"{folder} has no {video}.npy or {video}.pt")


def import_unit(
    cache: Cache,
    video: Video,
    path: Path,
    *,
    backbone: str,
    timestep: int,
    tap: str,
    layout: str,
    frame_size: FrameSize,
    overwrite: bool = False,
) -> UnitSpec:
    """Write a video's array as a unit. The SHA-256 of the array's file stands for the weights in the unit's request.

    Parameters
    ----------
    cache, video
        The cache, and the video, with as many frames as the array.
    path, layout
        The array; see `read_array`.
    backbone, timestep, tap
        Names of the features.
    frame_size
        Size of the frames that the features were computed from. Labels are decoded at this size.
    overwrite
        Replace a complete unit.

    Raises
    ------
    ConfigError
        When the names cannot be written as ``BACKBONE:TIMESTEP:TAP``.
    FrameError
        When the array does not fit the video.
    """
    if parse_choice(f"{backbone}:{timestep}:{tap}") != FeatureChoice(backbone=backbone, timestep=timestep, tap=tap):
        raise ConfigError(
            f"features named {backbone!r} with tap {tap!r} cannot be written as BACKBONE:TIMESTEP:TAP: "
            "leave out : and @, spaces at the ends, and commas in the tap"
        )
    array = read_array(path, layout)
    if len(array) != len(video.frames):
        raise FrameError(
            f"{path} has features of {plural(len(array), 'frame')}, but video {video.name!r} has {len(video.frames)}"
        )
    with path.open("rb") as file:
        identity = hashlib.file_digest(file, "sha256").hexdigest()
    spec = UnitSpec(
        dataset=video.dataset,
        request=FeatureRequest(
            video=video.name,
            frames=video.frames.digest(),
            backbone=backbone,
            weights=f"sha256:{identity}",
            frame_size=processed_size(video.frames.size, frame_size),
            compute_dtype=str(array.dtype),
        ),
        timestep=timestep,
        tap=tap,
        frame_names=video.frames.names,
        source_size=video.frames.size,
    )
    if cache.state(spec) == "complete" and not overwrite:
        return spec
    with cache.writer(spec, overwrite=overwrite) as writer:
        for frame in range(len(array)):
            if frame not in writer.done:
                writer.write(frame, array[frame])
                writer.commit()
        writer.finish({"imported_from": path.name})
    return spec
