"""The loop of training: steps, an average of the weights, checkpoints that resume exactly, the loss by noise level."""

import copy
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

__all__ = ["Batch", "LoopConfig", "train"]

#: Noise levels are reported in this many equal ranges of the timestep.
_LEVELS = 10


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast to learn.

    Attributes
    ----------
    steps
        Steps in all; a run that stops earlier is whole at any checkpoint, for the rate is constant after warming up.
    learning_rate, weight_decay
        Of AdamW.
    warmup
        Steps in which the rate rises from zero.
    ema
        Decay per step of the average of the weights; the average is what is used.
    clip_norm
        Greatest norm of the gradient.
    log_every
        Steps between two rows of the curve.
    checkpoint_every
        Steps between two checkpoints.
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
    """What a step's loss is made of.

    Attributes
    ----------
    losses
        (sample,), with gradient.
    timesteps
        (sample,), tau of each.
    """

    losses: torch.Tensor
    timesteps: torch.Tensor


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
    """Train, going on from the last checkpoint in a folder.

    Parameters
    ----------
    unet
        The network, float32, on its device. It is trained in place.
    folder
        For ``checkpoint.pt`` and ``curve.csv``.
    config
        The loop.
    batches
        Gives the losses of the steps from its first argument to its second. A step's batch must depend on its number
        and on the network alone: that is what makes resuming exact.
    timestep_count
        Timesteps of the noise schedule.
    keep
        Called at each checkpoint with the network that holds the average of the weights.
    seconds
        Stop after this time, at a checkpoint.
    say
        Called with a line of progress.
    """
    averaged = copy.deepcopy(unet).eval().requires_grad_(False)
    unet.train().requires_grad_(True)
    parameters = dict(unet.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, config.warmup)))
    average = dict(averaged.named_parameters())
    levels = torch.zeros(2, _LEVELS, dtype=torch.float64)  # sums and numbers of losses since the last row
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
        batch.losses.mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            # Early on the average follows closely: the first weights are worth nothing.
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
            _save(
                path,
                {
                    "weights": {name: value.detach() for name, value in parameters.items()},
                    "average": {name: value.detach() for name, value in average.items()},
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "levels": levels,
                    "step": step,
                    "seconds": elapsed,
                },
            )
            keep(averaged)
            if seconds is not None and time.monotonic() - started > seconds:
                break


def _save(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(path)


def _add_row(path: Path, step: int, seconds: float, losses: list[float]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "seconds", *(f"level{number}" for number in range(_LEVELS))])
        writer.writerow([step, f"{seconds:.0f}", *(f"{value:.5f}" for value in losses)])


def _cut_curve(path: Path, step: int) -> None:
    """Drop rows after a step: they are written again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    kept = [row for row in rows if row and (not row[0].isdigit() or int(row[0]) <= step)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(kept)
