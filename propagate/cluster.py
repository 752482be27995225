"""Executors of tasks: this process, worker processes on this machine, or an existing Dask cluster."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..store.errors import ConfigError, Hint, TedError

T = TypeVar("T")


class Workers(Protocol):
    """An executor of tasks."""

    @property
    def count(self) -> int:
        """Number of tasks that run at once; it changes when workers join or leave."""

    def map(
        self,
        function: Callable[..., T],
        tasks: Iterable[tuple[Any, ...]],
        *,
        ahead: int | None = None,
        lost: Callable[[TedError], T] | None = None,
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task, and yield the results in the order of the tasks.

        The function is pure (a task may run twice), from a module that the workers can import. Arguments are pickled:
        pass paths and settings rather than arrays. At most `ahead` tasks, by default ``2 * count + 2``, are taken whose
        results are not consumed yet. No task starts before the first result is requested. Closing the iterator cancels
        the tasks that have not started. `lost` returns the result of a task that killed its workers, from the error;
        without it, the error is raised and ends the iterator.

        Raises
        ------
        TedError
            When one task kills several workers, when no worker is left, or when the scheduler is gone. Errors of the
            function itself are raised unchanged, when the task's result is requested.
        """


class InProcess:
    """Run tasks one after the other, in this process, when their results are requested."""

    count = 1

    def map(
        self,
        function: Callable[..., T],
        tasks: Iterable[tuple[Any, ...]],
        *,
        ahead: int | None = None,
        lost: Callable[[TedError], T] | None = None,
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task; see `Workers.map`."""
        del ahead, lost  # tasks are taken one by one, and kill no worker
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
    """Return an executor of tasks, as a context manager that stops its workers or disconnects at the end.

    Parameters
    ----------
    workers
        Number of processes to start on this machine.
    scheduler
        Scheduler of an existing cluster: its address (``tcp://host:8786``, ``host:8786``) or scheduler file. Excludes
        `workers`. Without both, tasks run in this process.
    threads
        Number of torch's threads in each task. The default is processors / `workers`; on a cluster, the setting of its
        workers.
    resources
        Resources that a task occupies while it runs on a cluster, such as ``{"GPU": 1}``. Only workers that were
        started with these resources get tasks.
    timeout
        Seconds to wait for the scheduler, for each of its answers, and for a suitable worker when there is none.

    Raises
    ------
    ConfigError
        For options that contradict each other; on entering, when the scheduler cannot be reached, has no worker with
        the resources, or runs other versions.
    """
    amounts = ", ".join(f"{name}={amount:g}" for name, amount in (resources or {}).items())
    if workers is not None and scheduler is not None:
        raise ConfigError(
            "tasks run either on worker processes of this machine or on a cluster with a scheduler",
            hint=Hint("choose-workers"),
        )
    for name, number in (("workers", workers), ("threads of a worker", threads)):
        if number is not None and number < 1:
            raise ConfigError(f"the number of {name} must be at least 1, not {number}")
    if not timeout > 0:
        raise ConfigError(f"the time to wait for a scheduler must be positive, not {timeout:g} s")
    if resources and scheduler is None:
        raise ConfigError(
            f"resources ({amounts}) are properties of the workers of a cluster, and no scheduler is named",
            hint=Hint("name-scheduler"),
        )
    if any(not amount > 0 for amount in (resources or {}).values()):
        raise ConfigError(f"amounts of resources must be positive, not {amounts}")
    if workers is not None:
        return _local(workers, threads or max(1, processor_count() // workers), timeout)
    if scheduler is not None:
        return _existing(_address(scheduler), threads, dict(resources or {}), timeout)
    if threads is not None:
        raise ConfigError("a number of threads for each worker was given, and no workers", hint=Hint("name-workers"))
    return nullcontext(InProcess())


class Stored(Protocol):
    """A unit of the cache, with the hash of its content."""

    @property
    def folder(self) -> Path:
        """The unit's folder."""

    @property
    def content_hash(self) -> str:
        """Hash of the unit's content."""


def check_access(workers: Workers, units: Iterable[Stored]) -> None:
    """Check that each worker finds the same units at the same paths as this process; raise ConfigError otherwise."""
    if isinstance(workers, InProcess):
        return
    from .dask_workers import DaskWorkers

    if isinstance(workers, DaskWorkers):
        from .cluster_checks import compare_units

        compare_units(workers.client, workers.able(), list(units), workers.timeout)


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
        check_versions(client, workers.able(), timeout)
        yield workers


def _address(scheduler: str) -> str:
    """Return the scheduler's address from an address or a scheduler file."""
    import json

    if "://" in scheduler:
        return scheduler
    path = Path(scheduler).expanduser()
    if path.is_file():
        try:
            address = json.loads(path.read_bytes())["address"]
            if not isinstance(address, str):
                raise TypeError("its address is not a text")
            return address
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{scheduler} is not the file of a Dask scheduler ({type(error).__name__}: {error}); "
                "`dask scheduler --scheduler-file FILE` writes one"
            ) from error
    if re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):\d+", scheduler):
        return f"tcp://{scheduler}"
    raise ConfigError(
        f"{scheduler} is neither the address of a scheduler (tcp://HOST:PORT) nor an existing file; "
        "`dask scheduler --scheduler-file FILE` writes the file and prints the address"
    )


def processor_count() -> int:
    """Return the number of processors that this process may use, which in a batch job is often less than all."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
