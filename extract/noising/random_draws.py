"""Noise that depends on what it is for, never on batch order, device or threads."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["NOISE_SCHEME", "NoiseKey", "draw_noise"]

#: Name of the rule below. It is part of a unit's request: another rule must have another name.
NOISE_SCHEME = "sha256-philox-float32-1"


@dataclass(frozen=True, kw_only=True)
class NoiseKey:
    """What a noise tensor is for.

    Attributes
    ----------
    seed
        The user's seed.
    video
        Name of the video.
    start
        Index of the clip's first frame; of the frame itself for image backbones, whose clips are one frame long.
    draw
        Number of the draw in the ensemble, from 0.
    purpose
        ``"features"`` for the noise of x_tau; other names for other needs of the same clip
        (for example ``"conditioning"``), so that they are independent of it.
    """

    seed: int
    video: str
    start: int
    draw: int = 0
    purpose: str = "features"


def draw_noise(key: NoiseKey, shape: Sequence[int]) -> torch.Tensor:
    """Draw standard normal noise, the same for all timesteps.

    Parameters
    ----------
    key
        What the noise is for; equal keys and shapes give equal noise.
    shape
        Shape of the tensor, for features (frame, channel, y, x) of one clip.

    Returns
    -------
    torch.Tensor
        float32, on the CPU.
    """
    text = "\x1f".join([key.purpose, str(key.seed), key.video, str(key.start), str(key.draw)])
    key_of_generator = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    # Philox takes all 128 bits as its key. torch's generator on the CPU keeps 32 bits of its seed: among the noises of
    # one dataset some would be equal.
    generator = np.random.Generator(np.random.Philox(key=key_of_generator))
    values = generator.standard_normal(math.prod(shape), dtype=np.float32)
    return torch.from_numpy(values).reshape(tuple(shape))
