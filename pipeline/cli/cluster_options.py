"""Options of worker processes and Dask clusters."""

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from .base import Options, opt
from .options import at_least

if TYPE_CHECKING:
    from ...propagate import Workers

__all__ = ["ClusterChoice", "SchedulerChoice"]


class SchedulerChoice(Options, title="Workers and clusters"):
    """A Dask cluster."""

    scheduler: str | None = opt(
        "Run on a Dask cluster: the address of its scheduler (tcp://HOST:PORT), or its scheduler file.",
        metavar="ADDRESS|FILE",
    )
    worker_resources: tuple[str, ...] = opt(
        "Resource that each task occupies on a cluster, such as GPU=1; only workers that offer it get tasks.",
        flag="--worker-resource",
        metavar="NAME=AMOUNT",
    )
    scheduler_timeout: float = opt(
        "How long to wait for answers of the scheduler, and for a worker when there is none.",
        30.0,
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
    )

    def connect(self) -> AbstractContextManager["Workers"]:
        """Return the executor of tasks, as a context manager.

        Raises
        ------
        ConfigError
            For options that contradict each other, and for a resource that is not ``NAME=AMOUNT``; on entering, for a
            cluster that cannot be used.
        """
        from ...propagate import connect

        return connect(
            workers=getattr(self, "workers", None),
            scheduler=self.scheduler,
            threads=getattr(self, "worker_threads", None),
            resources=dict(map(_resource, self.worker_resources)),
            timeout=self.scheduler_timeout,
        )


class ClusterChoice(SchedulerChoice):
    """Worker processes on this machine, or a Dask cluster."""

    workers: int | None = opt(
        "Number of worker processes on this machine.  [default: this process alone]", type=at_least(1)
    )
    worker_threads: int | None = opt(
        "Number of threads of each worker.  [default: processors / workers; on a cluster, its own setting]",
        type=at_least(1),
    )


def _resource(text: str) -> tuple[str, float]:
    from ...store.errors import ConfigError

    name, _, amount = text.partition("=")
    try:
        number = float(amount)
    except ValueError:
        number = math.nan
    if not name.strip() or not math.isfinite(number):
        raise ConfigError(f"--worker-resource {text!r} is not NAME=AMOUNT, such as GPU=1")
    return name.strip(), number
