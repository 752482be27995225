"""IoU of masks from words with the truth of synthetic scenes, beside controls: ``python benchmarks/words.py ROOT``.

ROOT is made by ``ted synth ROOT --set random --distinct --shape mixed``. Scenes whose objects have the same name are
left out. Each scene counts once: its value is the mean over its objects.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ted.extract.backbones import load_backbone
from ted.extract.frame_size import FrameSize, processed_size, to_pixels
from ted.extract.noising.keyed_noise import NoiseKey
from ted.extract.word_maps import content_words, trained_side, word_map
from ted.pipeline.annotating.words import above_half, contrast
from ted.pipeline.datasets.davis import davis_video
from ted.pipeline.synthetic.captions import HUES

#: Masks that are compared: title, words, and whether self-attention carries the map.
ROWS = ("words", "words, cross-attention alone", "words of the other object", "words of no object")


def scene_maps(backbone: Any, frame: np.ndarray, names: list[str], absent: str, timestep: int) -> dict[str, np.ndarray]:
    """Return the map of each name, of the absent one in its own prompt, and of names without self-attention."""
    size = processed_size(frame.shape[:2], FrameSize(short_side=trained_side(backbone), nearest=True), 32)
    pixels = torch.from_numpy(to_pixels(frame, size))[None]
    key = NoiseKey(seed=0, video="words", start=0)
    caption = " and ".join(names)
    given = dict.fromkeys(names, (caption, True)) | {absent: (f"{absent} and {names[1]}", True)}
    given |= {f"{name}, alone": (caption, False) for name in names}
    return {
        name: word_map(
            backbone,
            pixels,
            prompt,
            content_words(name.removesuffix(", alone")),
            key=key,
            timestep=timestep,
            carry=carry,
        ).numpy()
        for name, (prompt, carry) in given.items()
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--backbone", default="demo-text")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--timesteps", type=int, nargs="+", default=[100])
    parser.add_argument("--videos", type=int, default=50)
    given = parser.parse_args()
    backbone = load_backbone(given.backbone, given.weights, device=torch.device("cpu"), dtype=torch.float32)
    print("timestep  masks                            IoU      s.e.  contrast")
    for timestep in given.timesteps:
        found: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
        for path in sorted((given.root / "Tracks").glob("*.json"))[: given.videos]:
            names = json.loads(path.read_text())["names"]
            if len(set(names)) < len(names):
                continue
            video = davis_video(given.root, path.stem)
            truth = video.true_masks().read(video.frames.names[0])
            others = [f"{hue} {shape}" for hue, shape in product(HUES, ("ball", "box", "diamond"))]
            words = {word for name in names for word in name.split()}
            absent = next(name for name in others if not words & set(name.split()))
            maps = scene_maps(backbone, video.frames.read(0), names, absent, timestep)
            values: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
            for number, name in enumerate(names, start=1):
                shown = (name, f"{name}, alone", names[number % len(names)], absent)
                for row, one in zip(ROWS, shown, strict=True):
                    large = cv2.resize(maps[one], truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
                    mask, object_mask = above_half(large), truth == number
                    values[row].append(((mask & object_mask).sum() / (mask | object_mask).sum(), contrast(maps[one])))
            for row in ROWS:
                found[row].append(tuple(np.mean(values[row], 0)))
        for row in ROWS:
            iou, score = np.array(found[row]).T
            print(
                f"{timestep:>8}  {row:<31}{100 * iou.mean():>5.1f} {100 * iou.std(ddof=1) / len(iou) ** 0.5:>8.1f}"
                f" {score.mean():>8.2f}  ({len(iou)} scenes)",
                flush=True,
            )


if __name__ == "__main__":
    main()
