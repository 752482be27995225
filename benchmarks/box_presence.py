"""Threshold of an object's label mass above which its box counts as present, and accuracy of the boxes.

Run from the project's root:

    python benchmarks/box_presence.py [--scenes 6] [--temperature 0.1] [--context 10]

Scenes of random smooth features as in `point_visibility.py`, 32x32 cells: a square of 10x10 cells moves over a drifting
background, passes behind a larger square and reappears. Its box is annotated in the first of thirty frames. It is
absent when less than 5 % of it is visible. Absent frames are compared with earlier frames in which at least half is
visible; finding the object again is another question.
"""

from typing import Any

import dask.array as da
import numpy as np
from point_visibility import FINE, GRID, RASTER, SIDE, Volume, parse_arguments, render, texture

from ted.pipeline.metrics.boxes import intersection_over_union
from ted.propagate import propagate
from ted.propagate.targets.boxes import decode_boxes, encode_boxes

FRAMES = 30
ABSENT_BELOW = 0.05
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def main() -> None:
    scenes, settings = parse_arguments(__doc__)
    size = (RASTER, RASTER)
    for noise in (0.2, 0.6, 1.0):
        shares, visible, overlaps, early = [], [], [], []
        for seed in range(scenes):
            features, owners = scene(np.random.default_rng(seed), noise)
            volume = Volume(da.from_array(features, chunks=(1, -1, -1, -1)))
            seen = owners == 1
            truth = np.stack([extent(frame) for frame in seen]) * (RASTER / GRID / FINE)
            first = encode_boxes(truth[:1], size, (GRID, GRID))
            for frame, label in propagate([(volume, 1.0)], first, settings):
                box, mass = decode_boxes(label, size)
                if frame:
                    early.append(not any(seen[before].sum() < ABSENT_BELOW * seen[0].sum() for before in range(frame)))
                    shares.append(mass[0] / float(first.sum()))
                    visible.append(seen[frame].sum() / seen[0].sum())
                    overlaps.append(intersection_over_union(truth[frame], box[0]))
        share, part = np.array(shares), np.array(visible)
        absent = part < ABSENT_BELOW
        before = np.array(early)
        full, half = before & (part > 0.9), before & (part >= 0.5)
        line = f"noise {noise}: {100 * absent.mean():.0f} % absent; median mass {np.median(share[full]):.2f} in full "
        line += f"sight, {np.median(share[absent]):.2f} absent; IoU in full sight {np.array(overlaps)[full].mean():.3f}"
        line += "; present, of frames in half sight / of absent ones"
        for threshold in THRESHOLDS:
            present = share >= threshold
            line += f"  {threshold}: {100 * present[half].mean():.1f} / {100 * present[absent].mean():.1f}"
        print(line, flush=True)


def scene(rng: np.random.Generator, noise: float) -> tuple[Any, Any]:
    """Return features and layers from `render`; layer 1 is the tracked square."""
    textures = [texture(rng, SIDE * 2), texture(rng, 40), texture(rng, 48)]
    for number, layer in enumerate(textures):
        layer[number] += 5  # parts that become visible resemble their own layer more than others
    time = np.arange(FRAMES)[:, None]
    height = rng.uniform(20, SIDE - 68)
    behind = [height + rng.uniform(0, 8), 2] + time * [0, 2.9]
    front = [height, SIDE / 2 - 20] + time * rng.uniform(-0.2, 0.2, 2)
    ground = np.full(2, -SIDE / 2) + time * rng.uniform(-1.5, 1.5, 2)
    return render(textures, np.round([ground, behind, front]).astype(int), noise, rng)


def extent(mask: np.ndarray) -> np.ndarray:
    """Return the box of a mask as x, y, width, height; NaN if the mask is empty."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return np.full(4, np.nan)
    return np.array([xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()])


if __name__ == "__main__":
    main()
