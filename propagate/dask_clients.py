"""Clients of Dask clusters: of a temporary local cluster, or of an existing one."""

import asyncio
import inspect
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.comm import connect
from distributed.system import MEMORY_LIMIT
from distributed.versions import VersionMismatchWarning

from ..store.errors import ConfigError, TedError

#: Time limit in seconds for disconnecting from a cluster, whose scheduler may be gone.
_LEAVE_S = 5.0


def ask(client: Client, method: Callable[..., Any], *args: Any, timeout: float, **options: Any) -> Any:
    """Call a method of a client or its scheduler within the client's event loop, with a time limit in seconds.

    Raises TedError when the scheduler does not answer in time, or cannot be reached any more.
    """

    async def call() -> Any:
        answer = method(*args, **options)
        return await answer if inspect.isawaitable(answer) else answer

    try:
        return client.sync(call, callback_timeout=timeout)
    except TimeoutError as error:
        raise TedError(
            f"the scheduler at {_address_of(client)} has not answered for {timeout:g} s: it stopped, or hangs, or "
            "cannot be reached any more"
        ) from error
    except (OSError, AttributeError) as error:  # AttributeError: the client is closed
        raise TedError(f"the scheduler at {_address_of(client)} stopped, or cannot be reached any more") from error


def _address_of(client: Client) -> str:
    return client.scheduler.address if client.scheduler is not None else "an unknown address"


@contextmanager
def local_client(count: int, threads: int) -> Iterator[Client]:
    """Start worker processes on this machine, which run one task at a time each; stop them at the end.

    Each may use an equal share of the memory, and is restarted when it dies. `threads` are those of the numerical
    libraries in each process.
    """
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    # `count` tasks already read chunks in parallel.
    environment["ZARR_ASYNC__CONCURRENCY"] = os.environ.get("ZARR_ASYNC__CONCURRENCY", "2")
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",  # torch does not survive a fork
        # By default freed memory is returned to the system at once, and allocated again for the next frame.
        "distributed.nanny.pre-spawn-environ": {},
        # Do not spill to disk or pause: a worker needs its data soon. A worker that exceeds its share of the memory is
        # still terminated.
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
                dashboard_address="127.0.0.1:0",  # any free port; None would try 8787
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
    """Connect to the scheduler of an existing cluster; disconnect at the end.

    Raises ConfigError when nothing answers in time, or another program than a scheduler answers.
    """
    started = time.monotonic()
    with _quiet():
        # Dask's own handshake waits forever if a port accepts connections but sends nothing.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _greet(address, timeout)).result()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VersionMismatchWarning)  # `check_versions` explains it
                left = max(1.0, timeout - (time.monotonic() - started))
                client = Client(address, timeout=left, set_as_default=False)
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            raise _no_scheduler(address, timeout, error) from error
        try:
            yield client
        finally:
            with suppress(TimeoutError, OSError):
                client.close(timeout=_LEAVE_S)


async def _greet(address: str, timeout: float) -> None:
    """Check that a scheduler answers at an address."""

    async def identity() -> Any:
        comm = await connect(address, timeout=timeout)
        try:
            await comm.write({"op": "identity", "reply": True})
            return await comm.read()
        finally:
            comm.abort()

    try:
        found = await asyncio.wait_for(identity(), timeout)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise _no_scheduler(address, timeout, error) from error
    except Exception as error:  # bytes of another protocol may raise anything
        raise ConfigError(f"a Dask scheduler is expected at {address}, and another program answers there") from error
    kind = found.get("type") if isinstance(found, dict) else None
    if kind != "Scheduler":
        raise ConfigError(f"a Dask scheduler is expected at {address}, and a {kind or 'different program'} answers")


def _no_scheduler(address: str, timeout: float, error: Exception) -> ConfigError:
    silent = "nothing there speaks Dask's protocol" if isinstance(error, TimeoutError) else type(error).__name__
    return ConfigError(
        f"no Dask scheduler answers at {address} within {timeout:g} s ({str(error) or silent}): is the address right, "
        "does the scheduler run, is its port open from here? `dask scheduler` starts one"
    )


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started in the block."""
    names = (*values, "PYTHONHASHSEED")  # distributed sets PYTHONHASHSEED
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
    """Silence distributed's log, since its errors are raised here."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
