"""Dask clusters: one that is started here and stopped again, or one that is there already."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT
from distributed.versions import VersionMismatchWarning

from ..store.errors import ConfigError, TedError

__all__ = ["local_client", "remote_client"]


@contextmanager
def local_client(count: int, threads: int) -> Iterator[Client]:
    """Start worker processes on this machine, one task at a time each, and stop them at the end.

    Parameters
    ----------
    count
        Number of processes; each may use an equal share of the memory, and is replaced when it dies.
    threads
        Of the numerical libraries in each.
    """
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    # Each read of a chunk is one task among `count` at a time already.
    environment["ZARR_ASYNC__CONCURRENCY"] = os.environ.get("ZARR_ASYNC__CONCURRENCY", "2")
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",  # torch does not survive a fork
        # The default gives freed memory back at once, and takes it again for the next frame.
        "distributed.nanny.pre-spawn-environ": {},
        # What a worker holds is needed soon: writing it to disk, or pausing, would only stall. A worker that has
        # outgrown its share is still ended, before the system ends something else.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.scheduler.allowed-failures": 2,
    }
    with _variables(environment), dask.config.set(settings), _quiet():
        try:
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=MEMORY_LIMIT // count,
                dashboard_address="127.0.0.1:0",  # any port that is free; None would try 8787
                silence_logs=logging.CRITICAL,
            )
        except RuntimeError as error:
            raise TedError(
                f"the {count} workers could not be started ({error}). A script that starts workers "
                'must do so below `if __name__ == "__main__":`'
            ) from error
        with cluster, Client(cluster, set_as_default=False, direct_to_workers=True) as client:
            yield client


@contextmanager
def remote_client(address: str, timeout: float) -> Iterator[Client]:
    """Connect to the scheduler of a cluster that is there, and leave it at the end.

    Parameters
    ----------
    address
        Of the scheduler, with its protocol.
    timeout
        Seconds to wait for an answer.

    Raises
    ------
    ConfigError
        When there is no answer, or not that of a scheduler.
    """
    with _quiet():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VersionMismatchWarning)  # `check_versions` says it in fewer words
                client = Client(address, timeout=timeout, set_as_default=False)
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {address} within {timeout:g} s ({error or type(error).__name__}): is "
                "the address right, does the scheduler run, is its port open from here? `dask scheduler` starts one"
            ) from error
        with client:
            yield client


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, for processes that are started meanwhile."""
    names = (*values, "PYTHONHASHSEED")  # the last one is set by distributed
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed from logging what is raised as errors here, or is as it should be."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
