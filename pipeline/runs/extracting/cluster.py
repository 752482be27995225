"""Extraction on a Dask cluster, one share per task."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

from ....propagate import Workers
from ..devices import choose_device
from .request import ExtractionRequest, Share
from .running import Extracted, Failure, extract, load

#: Each worker keeps the backbone of its last task in memory.
_load_once = functools.lru_cache(maxsize=1)(load)


def extract_on_cluster(
    request: ExtractionRequest,
    workers: Workers,
    device: str,
    *,
    progress: Callable[[str, int], Callable[[int], None]],
    say: Callable[[str], None],
) -> Iterator[Extracted | Failure]:
    """Extract with the workers of a cluster, one share per task; see `running.extract`.

    Workers must see the videos, the weights and the cache at the same absolute paths. `device` is that of each worker.
    """
    everything = dataclasses.replace(request, shares=())
    advance = progress("cluster", len(request.shares))
    tasks = ((everything, share, device) for share in request.shares)
    for share, (result, remarks) in zip(request.shares, workers.map(_extract_share, tasks), strict=True):
        for remark in remarks:
            say(remark)
        advance(1)
        yield dataclasses.replace(result, share=share)  # rather than the copy that the worker returns


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
