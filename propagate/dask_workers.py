"""Run tasks on the workers of a Dask cluster: results in order, few tasks at a time, tolerant of dying workers."""

import asyncio
import reprlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
from distributed import CancelledError, Client, Future, KilledWorker
from distributed.comm import CommClosedError
from distributed.protocol import pickle

from ..store.errors import ConfigError, TedError
from .dask_clients import ask

T = TypeVar("T")

#: Seconds between checks of the cluster while waiting for a result.
_LOOK = 5.0


class _InThread:
    """A context in which the calling thread computes dask arrays itself.

    Dask's configuration is process-wide, and tasks of several threads begin and end in any order: the first task sets
    it, and the last one restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = dask.config.set(scheduler="synchronous")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_IN_THREAD = _InThread()


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A pickled task, which the scheduler neither searches for nested tasks nor unpickles."""

    payload: bytes
    threads: int | None

    def __call__(self) -> Any:
        if self.threads is not None:
            import torch  # imported here, because the scheduler unpickles this class without needing torch

            torch.set_num_threads(self.threads)
        function, task = pickle.loads(self.payload)
        # Otherwise dask arrays computed in a task would become tasks of this cluster, through its scheduler.
        with _IN_THREAD:
            return function(*task)


class DaskWorkers:
    """An executor (`Workers`) on a cluster's workers.

    While it waits for a result, it checks every few seconds that the scheduler answers and has workers. The parameters
    are those of `ted.propagate.cluster.connect`.
    """

    def __init__(self, client: Client, *, threads: int | None, resources: Mapping[str, float], timeout: float) -> None:
        self.client = client
        self._threads = threads
        self._resources = dict(resources)
        self.timeout = timeout
        self._look = min(_LOOK, timeout / 4)
        self._count = 1
        self._looked = float("-inf")
        self._lost: str | None = None

    @property
    def count(self) -> int:
        """Number of tasks that run at once, as of a few seconds ago; at least 1."""
        if time.monotonic() - self._looked > self._look:
            self.able()
        return self._count

    def able(self) -> list[str]:
        """Return the addresses of the workers that have the resources of a task; TedError if the scheduler is gone."""
        slots = {}
        for address, worker in self._workers().items():
            offers = worker["resources"]
            limits = [offers.get(name, 0) // amount for name, amount in self._resources.items()]
            if all(limit >= 1 for limit in limits):
                slots[address] = int(min(worker["nthreads"], *limits)) if limits else worker["nthreads"]
        self._looked = time.monotonic()
        self._count = max(1, sum(slots.values()))
        return list(slots)

    def _workers(self) -> dict[str, Any]:
        """Ask the scheduler for its workers; return their descriptions by address."""
        if self._lost:
            raise TedError(self._lost)
        try:
            # A closed client has no scheduler: `ask` explains the AttributeError.
            found = ask(self.client, lambda: self.client.scheduler.identity(n_workers=-1), timeout=self.timeout)
        except TedError as error:
            self._lost = f"{error}; start it again, then run the same command again"
            raise TedError(self._lost) from error
        return dict(found["workers"])

    def wait_for_one(self) -> None:
        """Wait until a worker has the resources of a task; ConfigError when none joins in time."""
        deadline = time.monotonic() + self.timeout
        while not self.able():
            if time.monotonic() > deadline:
                raise ConfigError(self._missing())
            time.sleep(min(0.2, self.timeout / 10))

    def map(
        self,
        function: Callable[..., T],
        tasks: Iterable[tuple[Any, ...]],
        *,
        ahead: int | None = None,
        lost: Callable[[TedError], T] | None = None,
    ) -> Iterator[T]:
        """Call ``function(*task)`` for each task; see `ted.propagate.cluster.Workers.map`."""
        group = f"{getattr(function, '__name__', 'call')}-{uuid.uuid4().hex}"
        numbered = enumerate(tasks)
        pending: deque[tuple[Future, str]] = deque()
        try:
            while True:
                while len(pending) < max(1, 2 * self.count + 2 if ahead is None else ahead):
                    following = next(numbered, None)
                    if following is None:
                        break
                    pending.append(self._submit(group, function, *following))
                if not pending:
                    return
                # Hold neither the result nor its future while the consumer uses the result.
                yield self._result(*pending.popleft(), lost)
        finally:
            if pending:
                with suppress(Exception):  # if the cluster is gone, that error is being raised already
                    self.client.cancel([future for future, _ in pending])

    def _submit(
        self, group: str, function: Callable[..., Any], number: int, task: tuple[Any, ...]
    ) -> tuple[Future, str]:
        if self._lost:
            raise TedError(self._lost)
        call = _Call(payload=pickle.dumps((function, task)), threads=self._threads)
        future = self.client.submit(call, key=(group, number), resources=self._resources or None, pure=False)
        return future, f"task {number} ({group.rpartition('-')[0]}{reprlib.repr(task)})"

    def _result(self, future: Future, task: str, lost: Callable[[TedError], Any] | None) -> Any:
        """Return a task's result; check every few seconds that the scheduler answers and that there are workers."""

        async def result() -> Any:
            return await future

        answer = asyncio.run_coroutine_threadsafe(result(), self.client.loop.asyncio_loop)
        gone: float | None = None
        try:
            while True:
                with suppress(TimeoutError):
                    answer.exception(timeout=self._look)
                if answer.done():
                    return answer.result()
                if self.able():
                    gone = None
                    continue
                gone = self._looked if gone is None else gone
                if self._looked - gone >= self.timeout:
                    self._lost = f"{task} was given up: {self._missing()}"
                    raise TedError(self._lost)
        except KilledWorker as error:
            died = TedError(
                f"{task}: {error.allowed_failures + 1} workers died, one after the other, while they had this "
                "task. They probably ran out of memory: use fewer workers or give each more memory, then run the "
                "same command again; the log of a worker, if there is one, tells why it was killed"
            )
            if lost is None:
                raise died from error
            return lost(died)
        except CancelledError as error:
            self._lost = (
                f"{task} was given up: the scheduler stopped, or cannot be reached any more; start it again, then "
                "run the same command again"
            )
            raise TedError(self._lost) from error
        except Exception as error:
            if _is_of_dask(error):
                if isinstance(error, CommClosedError):
                    self.able()  # raises an error that explains that the scheduler is gone
                raise TedError(f"{task} could not be run on the cluster: {error}") from error
            raise
        finally:
            answer.cancel()

    def _missing(self) -> str:
        """Return a message about the missing and the existing workers."""
        workers = self._workers().values()
        where = f"the cluster at {self.client.scheduler.address}"
        waited = f"and none came within {self.timeout:g} s"
        if not workers:
            return f"{where} has no workers, {waited}: start some (`dask worker ADDRESS`), or wait longer for them"
        wanted = ", ".join(f"{name}={amount:g}" for name, amount in self._resources.items())
        offers = {", ".join(f"{name}={amount:g}" for name, amount in worker["resources"].items()) for worker in workers}
        offered = "; ".join(sorted(offer or "nothing" for offer in offers))
        return (
            f"{where} has no worker that offers {wanted}, {waited}; its {len(workers)} workers offer: {offered}. "
            f'Start workers with --resources "{wanted}", or ask for less'
        )


def _is_of_dask(error: Exception) -> bool:
    """Tell whether an error comes from the cluster, not from the task's function."""
    module = type(error).__module__.partition(".")[0]
    return module == "distributed" or str(error).lstrip().startswith("Error during deserialization of the task graph")
