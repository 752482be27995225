"""Shards of a list, for jobs that do not communicate."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from ....store.errors import ConfigError

T = TypeVar("T")


def parse_shard(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Parse ``I/N``, from ``1/N`` to ``N/N``, or ``slurm``, this task's index in a SLURM job array.

    Arrays may begin anywhere (``--array=0-7``, ``--array=1-16:4``), but must be evenly spaced. Returns the index of the
    shard, from 0, and the number of shards. Raises ConfigError for anything else, and for ``slurm`` outside of an
    array.
    """
    if text == "slurm":
        return _slurm(environment)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text!r} is neither slurm nor I/N, from 1/N to N/N, such as 2/8")
    return int(match[1]) - 1, int(match[2])


def take_shard(items: Sequence[T], shard: tuple[int, int]) -> list[T]:
    """Return every n-th item from the i-th on; each item is in exactly one shard."""
    number, count = shard
    return list(items[number::count])


def _slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    names = ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT"]
    absent = [name for name in names if name not in environment]
    if absent:
        raise ConfigError(
            f"--shard slurm needs a job array (sbatch --array=1-8): the variable {absent[0]} is not set; "
            "or give --shard I/N"
        )
    try:
        task, first, last, count = (int(environment[name]) for name in names)
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1))
    except ValueError as error:
        raise ConfigError(f"--shard slurm: SLURM's variables are not numbers: {error}") from error
    number, rest = divmod(task - first, max(1, step))
    if rest or not 0 <= number < count or (count > 1 and first + step * (count - 1) != last):
        raise ConfigError(
            f"--shard slurm: the array's tasks ({first} to {last}, {count} of them) are not evenly spaced, so that the "
            f"index of task {task} is unknown; submit it as --array=1-{count}"
        )
    return number, count
