"""Settings of DINTR-style interpolation."""

import math
from dataclasses import dataclass
from typing import Any, get_args

from ...store.errors import ConfigError
from ..frame_size import FrameSize
from .tuning import Tuned


@dataclass(frozen=True, kw_only=True)
class InterpolationSettings:
    """Settings of fine-tuning, roll-out and read-out.

    Attributes
    ----------
    operator
        Name of the operator.
    pair_steps
        Steps of fine-tuning on each pair of frames; 0 is the control without fine-tuning.
    rate
        Learning rate.
    tuned
        Which weights are fine-tuned.
    warm_start
        Whether a pair starts from the weights of the pair before; otherwise from the pretrained ones.
    roll_steps
        T, the steps of the roll-out.
    top_timestep
        The network's timestep at step T, from which the others fall evenly; None for the schedule's last.
    layers
        Beginnings of the names of the layers whose attention is read.
    read_share
        Share of the roll-out's steps, its last ones, in which attention is read; in (0, 1].
    slots
        Largest weights of self-attention that are kept for each cell.
    frame_size
        Size of the frames, as in `ExtractionSettings`.
    seed
        Seed of the draws.
    """

    operator: str = "offset"
    pair_steps: int = 500
    rate: float = 3e-5
    tuned: Tuned = "attention-queries"
    warm_start: bool = True
    roll_steps: int = 50
    top_timestep: int | None = None
    layers: tuple[str, ...] = ("up_blocks[1]", "up_blocks[2]", "up_blocks[3]")
    read_share: float = 0.8
    slots: int = 64
    frame_size: FrameSize | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"pair_steps": 0, "roll_steps": 1, "slots": 1}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name.replace('_', ' ')} must be at least {least}, not {getattr(self, name)}")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ConfigError(f"the learning rate must be above 0, not {self.rate}")
        if not 0 < self.read_share <= 1:
            raise ConfigError(f"the share of steps in which attention is read is above 0, at most 1: {self.read_share}")
        if self.tuned not in get_args(Tuned):
            raise ConfigError(f"what is tuned is {', '.join(get_args(Tuned))}, not {self.tuned!r}")

    @property
    def read_steps(self) -> range:
        """The steps k in which attention is read: the last of T ... 1, at least one."""
        return range(max(1, round(self.read_share * self.roll_steps)), 0, -1)

    def to_json(self) -> dict[str, Any]:
        """Return the settings that determine values, beside layers and frame size, as JSON values."""
        tuning = {"rate": self.rate, "tuned": self.tuned, "warm_start": self.warm_start} if self.pair_steps else {}
        return {
            "operator": self.operator,
            "pair_steps": self.pair_steps,
            **tuning,
            "roll_steps": self.roll_steps,
            "read_share": self.read_share,
            "seed": self.seed,
        }
