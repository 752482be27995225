"""Where tasks run: in this process, in worker processes of this machine, or on a Dask cluster that is already there."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..store.errors import ConfigError

if TYPE_CHECKING:
    from .cluster_checks import Stored

__all__ = ["InProcess", "Workers", "check_access", "connect"]

T = TypeVar("T")


class Workers(Protocol):
    """What runs tasks."""

    @property
    def count(self) -> int:
        """How many tasks run at once; it changes when workers come and go."""

    def map(
        self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], *, ahead: int | None = None
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task.

        Parameters
        ----------
        function
            Pure, since a task may run twice, and of a module that the workers can import.
        tasks
            Arguments. They are pickled: paths and settings rather than arrays.
        ahead
            At most so many tasks are taken from the iterable before their results are consumed. Default:
            ``2 * count + 2``, at any time.

        Yields
        ------
        The results, in the order of the tasks. Nothing starts before the first is asked for, none is kept once it
        was yielded, and what has not started is given up when the iterator is closed.

        Raises
        ------
        TedError
            When workers die again and again on one task, when none is left, or when the scheduler is gone. What the
            function raises is raised as itself, in the task's place.
        """


class InProcess:
    """Run tasks one after the other, in this process, when their results are asked for."""

    count = 1

    def map(
        self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], *, ahead: int | None = None
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task; see `Workers.map`."""
        del ahead  # nothing is taken ahead
        for task in tasks:
            yield function(*task)


def connect(
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    resources: Mapping[str, float] | None = None,
    timeout: float = 30.0,
) -> AbstractContextManager[Workers]:
    """Return what runs tasks, as a context manager that stops or leaves it at the end.

    Parameters
    ----------
    workers
        Start so many processes on this machine.
    scheduler
        Or use a cluster that is there: the address of its scheduler (``tcp://host:8786``, ``host:8786``), or its
        scheduler file. Without both, tasks run in this process.
    threads
        Of torch in each task. Default: processors / `workers`; on a cluster, as its workers are set up.
    resources
        Of a cluster, what a task occupies while it runs, such as ``{"GPU": 1}``: only workers that were started with
        ``--resources`` get tasks then.
    timeout
        Seconds to wait for the scheduler and a first suitable worker, and later, when all workers are gone, for
        another one.

    Raises
    ------
    ConfigError
        For options that contradict each other; on entering, when the scheduler cannot be reached, has no worker
        (with the resources), or runs other versions.
    """
    if workers is not None and scheduler is not None:
        raise ConfigError("--workers starts processes here, --scheduler uses a cluster that is there: give one of them")
    for name, number in (("workers", workers), ("threads of a worker", threads)):
        if number is not None and number < 1:
            raise ConfigError(f"the number of {name} must be at least 1, not {number}")
    if not timeout > 0:
        raise ConfigError(f"the time to wait for a scheduler must be positive, not {timeout:g} s")
    if resources and scheduler is None:
        raise ConfigError(
            f"resources ({_amounts(resources)}) are properties of the workers of a cluster: they need --scheduler"
        )
    if any(not amount > 0 for amount in (resources or {}).values()):
        raise ConfigError(f"amounts of resources must be positive, not {_amounts(resources or {})}")
    if workers is not None:
        return _local(workers, threads or max(1, _processors() // workers), timeout)
    if scheduler is not None:
        return _existing(_address(scheduler), threads, dict(resources or {}), timeout)
    if threads is not None:
        raise ConfigError("threads of a worker were given, and neither --workers nor --scheduler")
    return nullcontext(InProcess())


def check_access(workers: Workers, units: Iterable["Stored"]) -> None:
    """Check that each worker finds the same units at the same paths as this process.

    Parameters
    ----------
    workers
        That tasks with these units will be given to.
    units
        What the tasks will read.

    Raises
    ------
    ConfigError
        Naming the hosts that do not see a unit, or see another one, and what to do.
    """
    from .dask_workers import DaskWorkers

    if isinstance(workers, DaskWorkers):
        from .cluster_checks import compare_units

        compare_units(workers.client, workers.able(), list(units))


@contextmanager
def _local(count: int, threads: int, timeout: float) -> Iterator[Workers]:
    from .dask_clients import local_client
    from .dask_workers import DaskWorkers

    with local_client(count, threads) as client:
        yield DaskWorkers(client, threads=threads, resources={}, timeout=timeout)


@contextmanager
def _existing(address: str, threads: int | None, resources: dict[str, float], timeout: float) -> Iterator[Workers]:
    from .cluster_checks import check_versions
    from .dask_clients import remote_client
    from .dask_workers import DaskWorkers

    with remote_client(address, timeout) as client:
        workers = DaskWorkers(client, threads=threads, resources=resources, timeout=timeout)
        workers.wait_for_one()
        check_versions(client, workers.able())
        yield workers


def _address(scheduler: str) -> str:
    """Return the address that a scheduler's address or scheduler file gives."""
    import json

    if "://" in scheduler:
        return scheduler
    path = Path(scheduler)
    if path.is_file():
        try:
            return str(json.loads(path.read_bytes())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{scheduler} is not the file of a Dask scheduler ({type(error).__name__}: {error}); "
                "`dask scheduler --scheduler-file FILE` writes one"
            ) from error
    if re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):\d+", scheduler):
        return f"tcp://{scheduler}"
    raise ConfigError(
        f"--scheduler {scheduler} is neither an address (tcp://HOST:PORT) nor a file that is there; "
        "`dask scheduler --scheduler-file FILE` writes the file and prints the address"
    )


def _processors() -> int:
    """Return the processors that this process may use: of a batch job, often fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
