"""Random noise from keys: the same on every machine, in any order, batch and thread."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

#: Name of the rule in `draw_noise`, part of every request; a changed rule needs another name.
NOISE_SCHEME = "sha256-philox-float32-1"


@dataclass(frozen=True, kw_only=True)
class NoiseKey:
    """Identity of a noise tensor."""

    seed: int  # seed that the user chose
    video: str  # name of the video
    start: int  # index in the video of the clip's first frame; for an image backbone, of the frame itself
    draw: int = 0  # number of the draw in the ensemble, from 0
    #: ``"features"`` for the noise of x_tau. Another purpose of the same clip, such as ``"conditioning"``, gives
    #: independent noise.
    purpose: str = "features"


def draw_noise(key: NoiseKey, shape: Sequence[int]) -> torch.Tensor:
    """Draw standard normal noise of a shape, float32, on the CPU; equal keys and shapes give equal noise.

    The key does not include the timestep, since all timesteps share their noise.
    """
    values = keyed_generator(key).standard_normal(math.prod(shape), dtype=np.float32)
    return torch.from_numpy(values).reshape(tuple(shape))


def keyed_generator(key: NoiseKey) -> np.random.Generator:
    """Return the random generator of a key; equal keys give equal generators on every machine."""
    text = "\x1f".join([key.purpose, str(key.seed), key.video, str(key.start), str(key.draw)])
    philox_key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    # Philox uses all 128 bits. torch's CPU generator uses only 32 bits of a seed, so keys of one dataset would collide.
    return np.random.Generator(np.random.Philox(key=philox_key))
