"""Feature units in a cache, for tests."""

from typing import Any

import numpy.typing as npt

from ted.store import Cache, FeatureRequest, Unit, UnitSpec


def write_unit(cache: Cache, backbone: str, values: npt.NDArray[Any], video: str = "swan") -> Unit:
    """Write features (frame, y, x, channel) as a unit of a backbone."""
    spec = UnitSpec(
        dataset="davis",
        request=FeatureRequest(
            video=video, frames="f" * 64, backbone=backbone, weights="sha256:00", frame_size=(64, 96)
        ),
        timestep=51,
        tap="up_blocks[2]",
        frame_names=tuple(f"{frame:05d}" for frame in range(len(values))),
        source_size=(64, 96),
    )
    with cache.writer(spec) as writer:
        for frame, features in enumerate(values):
            writer.write(frame, features)
        writer.finish({})
    return Unit(spec.folder(cache.root))
