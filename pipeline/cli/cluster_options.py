"""Options of worker processes and Dask clusters."""

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...propagate import Workers

__all__ = ["cluster_options", "open_workers", "scheduler_options"]


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of workers and clusters; see `open_workers`."""
    decorators: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Number of worker processes on this machine.  [default: this process alone]",
        ),
        click.option(
            "--worker-threads",
            type=click.IntRange(min=1),
            help="Number of threads of each worker.  [default: processors / workers; on a cluster, its own setting]",
        ),
        scheduler_options,
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def scheduler_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a Dask cluster."""
    decorators = [
        click.option(
            "--scheduler",
            metavar="ADDRESS|FILE",
            help="Run on a Dask cluster: the address of its scheduler (tcp://HOST:PORT), or its scheduler file.",
        ),
        click.option(
            "--worker-resource",
            "worker_resources",
            multiple=True,
            metavar="NAME=AMOUNT",
            help="Resource that each task occupies on a cluster, such as GPU=1; only workers that offer it get tasks.",
        ),
        click.option(
            "--scheduler-timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=30.0,
            metavar="SECONDS",
            help="How long to wait for answers of the scheduler, and for a worker when there is none.",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def open_workers(
    *,
    workers: int | None,
    scheduler: str | None,
    worker_threads: int | None,
    worker_resources: tuple[str, ...],
    scheduler_timeout: float,
) -> AbstractContextManager["Workers"]:
    """Return the executor of tasks that `cluster_options` choose, as a context manager.

    Raises
    ------
    ConfigError
        For options that contradict each other, and for a resource that is not ``NAME=AMOUNT``; on entering, for a
        cluster that cannot be used.
    """
    from ...propagate import connect

    resources = dict(_resource(text) for text in worker_resources)
    return connect(
        workers=workers,
        scheduler=scheduler,
        threads=worker_threads,
        resources=resources,
        timeout=scheduler_timeout,
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
