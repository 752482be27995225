"""Training data: randomly drawn synthetic scenes, determined by their number and the seed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ted.pipeline.synthetic.captions import caption
from ted.pipeline.synthetic.rendering import Clip, render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.store.errors import ConfigError

__all__ = ["Captioned", "CaptionedScenes", "Scenes", "loader"]

#: First seed of training scenes; seeds of evaluation are far below.
FIRST_SEED = 1_000_000_000


class Scenes(Dataset[Any]):
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

    def __getitem__(self, number: int) -> Any:
        """Render video `number`: (frame, 3, height, width), uint8."""
        return self._render(number)[0]

    def _render(self, number: int) -> tuple[torch.Tensor, np.ndarray, SceneSpec, Clip, np.random.Generator]:
        """Return chosen frames and their indices, with the scene and the generator that drew it."""
        for attempt in range(100):
            rng = np.random.default_rng([self._seed, number, attempt])
            try:
                spec = self._draw(rng)
                clip = render(spec)
            except ConfigError:  # too many objects for their arrangement: draw other choices
                continue
            chosen = np.sort(rng.choice(len(clip.frames), size=self._frames, replace=False))
            frames = torch.from_numpy(clip.frames[chosen]).permute(0, 3, 1, 2).contiguous()
            return frames, chosen, spec, clip, rng
        raise ConfigError("none of 100 scenes could be drawn: check the choices")

    def _draw(self, rng: np.random.Generator) -> SceneSpec:
        drawn: dict[str, Any] = {}
        for name, values in self._choices.items():
            drawn[name] = tuple(values) if name in {"size", "radius"} else values[rng.integers(len(values))]
        return SceneSpec(**drawn, seed=FIRST_SEED + int(rng.integers(2**40)))


class Captioned(NamedTuple):
    """Frames with a caption, or a batch of them along a first axis."""

    frames: torch.Tensor  # (frame, 3, height, width), uint8
    ids: torch.Tensor  # (token,), token ids of the caption
    owners: torch.Tensor  # (token,), 1 or above where a token belongs to a name, which several objects may share
    masks: torch.Tensor  # (frame, name, height, width), uint8, 1 on the objects of names 1, 2, ...


class CaptionedScenes(Scenes):
    """Videos with captions, of which parts are left out at random. An item is a `Captioned`.

    A caption is that of the scene, of its objects, of one object, or empty.

    Parameters
    ----------
    choices, seed, frames
        As in `Scenes`.
    tokenize
        Returns the token ids (token,) of a text, of which every word is one token after the first, the start.
    forms
        Probabilities of an empty caption, of one object alone, and of objects without the background.
    unnamed
        Probability to name an object without its colour.
    """

    def __init__(
        self,
        choices: Mapping[str, Any],
        *,
        seed: int,
        frames: int,
        tokenize: Callable[[str], torch.Tensor],
        forms: Sequence[float],
        unnamed: float,
    ) -> None:
        super().__init__(choices, seed=seed, frames=frames)
        self._tokenize, self._forms, self._unnamed = tokenize, np.cumsum(forms), unnamed
        self._names = max(choices.get("objects", [2]))

    def __getitem__(self, number: int) -> Captioned:
        """Render video `number`, and draw its caption."""
        frames, chosen, spec, clip, rng = self._render(number)
        said = [name.split()[-1] if rng.uniform() < self._unnamed else name for name in clip.names]
        form = int(np.searchsorted(self._forms, rng.uniform(), side="right"))
        told = [[], [int(rng.integers(len(said)))]][form] if form < 2 else [*range(len(said))]
        ids = self._tokenize(caption([said[one] for one in told], spec.ground if form == 3 else None))
        owners = torch.zeros(len(ids), dtype=torch.long)
        masks = np.zeros((len(chosen), self._names, *spec.size), dtype=np.uint8)
        names: list[str] = []
        start = 1
        for one in told:
            if said[one] not in names:
                names.append(said[one])
            words, name = len(said[one].split()), names.index(said[one])
            owners[start : start + words] = name + 1
            masks[:, name] |= clip.masks[chosen] == one + 1
            start += words + 1  # "and"
        return Captioned(frames=frames, ids=ids, owners=owners, masks=torch.from_numpy(masks))


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


def loader(scenes: Scenes, *, first: int, last: int, batch: int, workers: int) -> DataLoader[Any]:
    """Load batches (clip, frame, 3, height, width), uint8, in order; or each a `Captioned`.

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
