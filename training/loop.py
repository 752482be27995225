"""Training loop: steps, averaged weights, checkpoints that resume exactly, and the loss by noise level."""

import copy
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ted.pipeline.runs.files import written_whole

__all__ = ["Batch", "LoopConfig", "train"]

#: Number of equal ranges of timesteps whose losses are reported.
_LEVELS = 10


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Length and rates of training.

    Attributes
    ----------
    steps
        Number of steps. The rate is constant after warm-up, so training can end at any checkpoint.
    learning_rate, weight_decay
        Parameters of AdamW.
    warmup
        Number of steps in which the rate rises from zero.
    ema
        Decay per step of the averaged weights, which are the result.
    clip_norm
        Largest norm of the gradient.
    log_every, checkpoint_every
        Number of steps between two rows of the curve, and between two checkpoints.
    """

    steps: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: int = 100
    ema: float = 0.999
    clip_norm: float = 1.0
    log_every: int = 50
    checkpoint_every: int = 250


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Losses of a step.

    Attributes
    ----------
    losses
        (sample,), with gradient.
    timesteps
        (sample,), the timestep of each.
    penalty
        Further loss, which is not in the curve.
    """

    losses: torch.Tensor
    timesteps: torch.Tensor
    penalty: torch.Tensor | float = 0.0


def train(
    unet: nn.Module,
    folder: Path,
    config: LoopConfig,
    batches: Callable[[int, int], Iterator[Batch]],
    *,
    timestep_count: int,
    keep: Callable[[nn.Module], None],
    seconds: float | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train a network, resuming from the last checkpoint in a folder.

    Parameters
    ----------
    unet
        Network, float32, on its device; trained in place.
    folder
        Folder of ``checkpoint.pt`` and ``curve.csv``.
    config
        Length and rates.
    batches
        Yields the losses of the steps from its first argument up to its second. For exact resuming, a step's batch
        depends only on its number and on the network.
    timestep_count
        Number of timesteps of the noise schedule.
    keep
        Called at each checkpoint with the network of the averaged weights.
    seconds
        Stop at the first checkpoint after this time.
    say
        Called with each line of progress.
    """
    averaged = copy.deepcopy(unet).eval().requires_grad_(False)
    unet.train().requires_grad_(True)
    parameters = dict(unet.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, config.warmup)))
    average = dict(averaged.named_parameters())
    levels = torch.zeros(2, _LEVELS, dtype=torch.float64)  # sum and number of losses since the last row
    first, before = 0, 0.0
    path = folder / "checkpoint.pt"
    if path.exists():
        saved = torch.load(path, map_location=next(iter(parameters.values())).device, weights_only=True)
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(saved["weights"][name])
                average[name].copy_(saved["average"][name])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        levels, first, before = saved["levels"].cpu(), saved["step"], saved["seconds"]
        _cut_curve(folder / "curve.csv", first)
    started = time.monotonic()
    for step, batch in enumerate(batches(first, config.steps), start=first + 1):
        (batch.losses.mean() + batch.penalty).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            # The average follows early weights closely, because they are far from good.
            decay = min(config.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.values()), list(parameters.values()), 1 - decay)
            level = (batch.timesteps.cpu() * _LEVELS // timestep_count).long()
            levels[0].index_add_(0, level, batch.losses.detach().double().cpu())
            levels[1].index_add_(0, level, torch.ones(len(level), dtype=torch.float64))
        elapsed = before + time.monotonic() - started
        if step % config.log_every == 0:
            mean = levels[0] / levels[1]
            _add_row(folder / "curve.csv", step, elapsed, mean.tolist())
            say(f"step {step}: loss {float(levels[0].sum() / levels[1].sum()):.4f}, {elapsed:.0f} s")
            levels.zero_()
        if step % config.checkpoint_every == 0 or step == config.steps:
            with written_whole(path) as temporary:
                state = {
                    "weights": {name: value.detach() for name, value in parameters.items()},
                    "average": {name: value.detach() for name, value in average.items()},
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "levels": levels,
                    "step": step,
                    "seconds": elapsed,
                }
                torch.save(state, temporary)
            keep(averaged)
            if seconds is not None and time.monotonic() - started > seconds:
                break


def _add_row(path: Path, step: int, seconds: float, losses: list[float]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "seconds", *(f"level{number}" for number in range(_LEVELS))])
        writer.writerow([step, f"{seconds:.0f}", *(f"{value:.5f}" for value in losses)])


def _cut_curve(path: Path, step: int) -> None:
    """Drop rows after a step, which resuming writes again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    kept = [row for row in rows if row and (not row[0].isdigit() or int(row[0]) <= step)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(kept)
