"""The shares of an extraction as tasks on a Dask cluster."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

from ....propagate import Workers
from ..devices import choose_device
from .request import ExtractionRequest, Share
from .running import Extracted, Failure, extract, load

__all__ = ["extract_on_cluster"]

#: Of each worker: the backbone of its last task.
_load_once = functools.lru_cache(maxsize=1)(load)


def extract_on_cluster(
    request: ExtractionRequest,
    workers: Workers,
    device: str,
    *,
    progress: Callable[[str, int], Callable[[int], None]],
    say: Callable[[str], None],
) -> Iterator[Extracted | Failure]:
    """Extract with the workers of a cluster, one share a task; see `running.extract`.

    Workers must see the videos, the weights and the cache at the same absolute paths. A worker keeps the backbone of
    its last task.

    Parameters
    ----------
    request
        What to extract.
    workers
        Where tasks run, from `ted.propagate.cluster.connect`.
    device
        On each worker: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    progress, say
        As for `running.extract`.
    """
    everything = dataclasses.replace(request, shares=())
    advance = progress("cluster", len(request.shares))
    tasks = ((everything, share, device) for share in request.shares)
    for share, (result, remarks) in zip(request.shares, workers.map(_extract_share, tasks), strict=True):
        for remark in remarks:
            say(remark)
        advance(1)
        yield dataclasses.replace(result, share=share)  # not the copy that has travelled


def _extract_share(request: ExtractionRequest, share: Share, device: str) -> tuple[Extracted | Failure, list[str]]:
    """Extract one share, on a worker."""
    remarks: list[str] = []
    (result,) = extract(
        dataclasses.replace(request, shares=(share,)),
        choose_device(device),
        progress=lambda _title, _frames: lambda _done: None,
        say=remarks.append,
        load=_load_once,
    )
    return result, remarks
