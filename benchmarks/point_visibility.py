"""Threshold of a point's label mass above which it counts as visible, and radius around the maximum for its position.

Run from the project's root:

    python benchmarks/point_visibility.py [--scenes 6] [--temperature 0.1] [--context 10]

Scenes of random smooth features, 32x32 cells of 64 channels: a drifting background, a patch that moves over it, and a
patch that passes in front of both. Sixty points per scene are tracked from the first of twenty frames; about a fifth
of the points and frames are occluded. Noise of the printed length is added to unit features: 1.0 is as long as the
feature.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import torch
from torch.nn import functional

from ted.pipeline.metrics.tapvid import score_tracks
from ted.propagate import PropagationSettings, propagate
from ted.propagate.targets import points

FRAMES, GRID, FINE, CHANNELS, POINTS = 20, 32, 4, 64, 60
SIDE = GRID * FINE  # scenes are drawn on a finer grid and averaged
RASTER = 256
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Volume:
    features: Any
    frame_size: tuple[int, int] = (RASTER, RASTER)


def texture(rng: np.random.Generator, side: int) -> Any:
    """Return a texture (channel, side, side) that is smooth over three cells."""
    coarse = torch.from_numpy(rng.standard_normal((1, CHANNELS, side // (3 * FINE), side // (3 * FINE))))
    return functional.interpolate(coarse.float(), size=(side, side), mode="bicubic", align_corners=False)[0].numpy()


def render(layers: Any, corners: Any, noise: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """Stack textures with upper left corners (layer, frame, 2), y and x, on the fine grid.

    Return features (frame, y, x, channel) and the visible layer (frame, fine y, fine x).
    """
    features, owners = [], []
    for t in range(len(corners[0])):
        image, owner = np.zeros((CHANNELS, SIDE, SIDE)), np.zeros((SIDE, SIDE), dtype=int)
        for number, layer in enumerate(layers):
            (top, left), side = corners[number][t], layer.shape[1]
            rows = slice(max(top, 0), min(max(top + side, 0), SIDE))
            columns = slice(max(left, 0), min(max(left + side, 0), SIDE))
            image[:, rows, columns] = layer[
                :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
            owner[rows, columns] = number
        cells = image.reshape(CHANNELS, GRID, FINE, GRID, FINE).mean((2, 4))
        cells /= np.linalg.norm(cells, axis=0)
        cells += noise * rng.standard_normal(cells.shape) / np.sqrt(CHANNELS)
        features.append(cells.transpose(1, 2, 0))
        owners.append(owner)
    return np.stack(features).astype(np.float32), np.stack(owners)


def scene(rng: np.random.Generator, noise: float) -> tuple[Any, Any, Any]:
    """Return features (frame, y, x, channel), raster positions (point, frame, 2), and occluded (point, frame)."""
    layers = [texture(rng, SIDE * 2), texture(rng, 40), texture(rng, 48)]
    speeds = [rng.uniform(-limit, limit, 2) for limit in (1.5, 3, 5)]
    front = SIDE / 2 - 24 - speeds[2] * FRAMES / 2 + rng.uniform(-10, 10, 2)
    starts = [np.full(2, -SIDE / 2), np.full(2, 44.0), front]
    corners = [
        [np.round(at + speed * t).astype(int) for t in range(FRAMES)] for at, speed in zip(starts, speeds, strict=True)
    ]
    features, owners = render(layers, corners, noise, rng)
    begin = rng.uniform(2, SIDE - 2, (POINTS, 2))  # y, x
    layer_of = owners[0][tuple(begin.astype(int).T)]
    positions, occluded = np.zeros((POINTS, FRAMES, 2)), np.zeros((POINTS, FRAMES), dtype=bool)
    for point, number in enumerate(layer_of):
        for t in range(FRAMES):
            y, x = begin[point] + corners[number][t] - corners[number][0]
            positions[point, t] = x / FINE * RASTER / GRID, y / FINE * RASTER / GRID
            inside = 0 <= y < SIDE and 0 <= x < SIDE
            occluded[point, t] = not inside or owners[t][int(y), int(x)] != number
    return features, positions, occluded


def parse_arguments(description: str | None) -> tuple[int, PropagationSettings]:
    """Return the number of scenes and the settings of propagation."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--context", type=int, default=10)
    options = parser.parse_args()
    return options.scenes, PropagationSettings(temperature=options.temperature, radius=8, context=options.context)


def main() -> None:
    scenes, settings = parse_arguments(__doc__)
    size = (RASTER, RASTER)
    for noise in (0.2, 0.6, 1.0):
        maps, truths = [], []
        for seed in range(scenes):
            features, positions, occluded = scene(np.random.default_rng(seed), noise)
            volume = Volume(da.from_array(features, chunks=(1, -1, -1, -1)))
            first = points.encode_points(positions[:, 0], size, (GRID, GRID))
            maps.append([label for _, label in propagate([(volume, 1.0)], first, settings)])
            truths.append((positions, occluded))
        hidden = np.concatenate([occluded[:, 1:].ravel() for _, occluded in truths])
        print(f"noise {noise}: {100 * hidden.mean():.0f} % hidden")
        for reach in ((1, 1), (1, 2), (2, 2), (3, 3)):
            points._PLACE_REACH, points._MASS_REACH = reach  # type: ignore[misc]
            found = [[points.decode_points(label, size) for label in video] for video in maps]
            mass = [np.stack([item.mass for item in video], 1) for video in found]
            positions = [np.stack([item.places for item in video], 1) for video in found]
            flat = np.concatenate([item[:, 1:].ravel() for item in mass])
            line = f"  position {reach[0]}, mass {reach[1]}: median mass {np.median(flat[~hidden]):.2f} visible, "
            line += f"{np.median(flat[hidden]):.2f} hidden;"
            for threshold in THRESHOLDS:
                scores = [
                    score_tracks(np.zeros(POINTS, int), true, occluded, at, share < threshold, "first")
                    for (true, occluded), at, share in zip(truths, positions, mass, strict=True)
                ]
                accuracy, jaccard, delta = (
                    100 * np.mean([score[name] for score in scores])
                    for name in ("occlusion_accuracy", "average_jaccard", "average_pts_within_thresh")
                )
                line += f"  {threshold}: OA {accuracy:.1f} AJ {jaccard:.1f}"
            print(f"{line}  delta {delta:.1f}", flush=True)


if __name__ == "__main__":
    main()
