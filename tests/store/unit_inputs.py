"""Descriptions of small units, and frames of affinities.

Programs that tests start import this module: without pytest and the commands it takes a sixth of the time.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ted.store import AffinitySpec, FeatureRequest, UnitSpec

FRAMES, GRID, CHANNELS = 5, (3, 4), 6


def make_spec(**changes: object) -> UnitSpec:
    request = FeatureRequest(
        video=str(changes.pop("video", "swan")),
        frames="f" * 64,
        backbone="adm",
        weights="sha256:00",
        frame_size=(24, 32),
        seed=int(str(changes.pop("seed", 0))),
    )
    values: dict[str, object] = {
        "dataset": "davis",
        "request": request,
        "timestep": 51,
        "tap": "up_blocks[2]",
        "frame_names": tuple(f"{i:05d}" for i in range(FRAMES)),
        "source_size": (48, 64),
    }
    return UnitSpec(**(values | changes))  # type: ignore[arg-type]


Frame = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]

SEARCH = {
    "kernel": "k",
    "radius": 2,
    "top_k": 2,
    "per_frame": False,
    "fusions": [
        {"weights": [0.25, 0.75], "context": 3, "renormalize": True},
        {"weights": [1.0, 0.0], "context": 2, "renormalize": True},
    ],
}


def make_affinities(**changes: object) -> AffinitySpec:
    values: dict[str, Any] = {
        "dataset": "davis",
        "video": "swan",
        "features": ("a" * 64, "b" * 64),
        "feature_labels": ("davis/swan svd@00 t300 up_blocks[2]", "davis/swan adm@00 t51 up_blocks[1]"),
        "frame_count": 5,
        "grid": (3, 4),
        "slots": 4,
        "search": SEARCH,
    }
    return AffinitySpec(**(values | changes))


def make_frames(spec: AffinitySpec) -> list[Frame]:
    """Return frames like those of a search: the first has no sources, all have some empty slots."""
    rng = np.random.default_rng(5)
    pixels = spec.grid[0] * spec.grid[1]
    frames = []
    for frame in range(spec.frame_count):
        sources = np.full((pixels, spec.slots), -1, np.int32)
        cosines = np.zeros((len(spec.features), pixels, spec.slots), np.float32)
        bounds = np.full((len(spec.search["fusions"]), pixels), -np.inf, np.float32)
        for pixel in range(pixels if frame else 0):
            used = int(rng.integers(1, spec.slots + 1))
            sources[pixel, :used] = np.sort(rng.choice(frame * pixels, used, replace=False))
            cosines[:, pixel, :used] = rng.uniform(-1, 1, (len(spec.features), used))
            bounds[:, pixel] = rng.uniform(-1, 1, len(bounds))
        frames.append((sources, cosines, bounds))
    return frames
