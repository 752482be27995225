"""Training data: randomly drawn synthetic scenes, determined by their number and the seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.store.errors import ConfigError

__all__ = ["Scenes", "loader"]

#: First seed of training scenes; seeds of evaluation are far below.
FIRST_SEED = 1_000_000_000


class Scenes(Dataset[torch.Tensor]):
    """Videos by number, rendered when they are read.

    Parameters
    ----------
    choices
        Values to choose from at random, for each varying field of `SceneSpec`; ``size`` and ``radius`` are single
        values.
    seed
        Seed of the training.
    frames
        Number of frames of each video, drawn at random, in order.
    """

    def __init__(self, choices: Mapping[str, Any], *, seed: int, frames: int) -> None:
        self._choices = choices
        self._seed = seed
        self._frames = frames

    def __getitem__(self, number: int) -> torch.Tensor:
        """Render video `number`: (frame, 3, height, width), uint8."""
        for attempt in range(100):
            rng = np.random.default_rng([self._seed, number, attempt])
            try:
                clip = render(self._draw(rng))
            except ConfigError:  # too many objects for their arrangement: draw other choices
                continue
            chosen = np.sort(rng.choice(len(clip.frames), size=self._frames, replace=False))
            return torch.from_numpy(clip.frames[chosen]).permute(0, 3, 1, 2).contiguous()
        raise ConfigError("none of 100 scenes could be drawn: check the choices")

    def _draw(self, rng: np.random.Generator) -> SceneSpec:
        drawn: dict[str, Any] = {}
        for name, values in self._choices.items():
            drawn[name] = tuple(values) if name in {"size", "radius"} else values[rng.integers(len(values))]
        return SceneSpec(**drawn, seed=FIRST_SEED + int(rng.integers(2**40)))


class _Batches(Sequence[list[int]]):
    """Numbers of the videos of each step, beginning with a step."""

    def __init__(self, first: int, last: int, size: int) -> None:
        self._first, self._last, self._size = first, last, size

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = (self._first + index) * self._size
        return list(range(start, start + self._size))


def loader(scenes: Scenes, *, first: int, last: int, batch: int, workers: int) -> DataLoader[torch.Tensor]:
    """Load batches (clip, frame, 3, height, width), uint8, in order.

    Parameters
    ----------
    scenes
        Videos.
    first, last
        Range of steps; `last` is excluded.
    batch
        Number of videos per step.
    workers
        Number of rendering processes; 0 renders in this one.
    """
    return DataLoader(scenes, batch_sampler=_Batches(first, last, batch), num_workers=workers)
