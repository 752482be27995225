"""What follows when a video's features are extracted: bringing them into their form, while the next are extracted."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Self

import torch

from ....extract.plan import VideoPlan
from ....extract.worker import ExtractionReport
from ....store import FLOAT16, Cache
from ....store.errors import ConfigError, TedError
from .request import ExtractionRequest, Share

__all__ = ["Finisher", "Outcome"]

#: A share, its plan of float16 units, and what was done for it, or why it could not be finished.
Outcome = tuple[Share, VideoPlan, ExtractionReport | TedError]

#: Videos that may wait to be converted: what is staged takes space on the disk.
_MOST_WAITING = 2


class Finisher:
    """Brings extracted features into the form of a request, in a thread; use as a context manager.

    Parameters
    ----------
    request
        What is extracted, and how it is stored.
    cache
        Where to.
    device
        Where the error of the form is measured.
    """

    def __init__(self, request: ExtractionRequest, cache: Cache, device: torch.device) -> None:
        self._request = request
        self._cache = cache
        self._device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ted-convert")
        self._waiting: deque[tuple[Share, VideoPlan, Future[ExtractionReport]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, share: Share, plan: VideoPlan, report: ExtractionReport) -> Iterator[Outcome]:
        """Take a share that was extracted; yield those that are finished, this one or earlier ones."""
        if self._request.store_as.form == FLOAT16:
            yield share, plan, report
            return
        self._waiting.append((share, plan, self._pool.submit(self._convert, share, plan, report)))
        while self._waiting and (len(self._waiting) > _MOST_WAITING or self._waiting[0][2].done()):
            yield self._first()

    def rest(self) -> Iterator[Outcome]:
        """Yield the others, as they are finished."""
        while self._waiting:
            yield self._first()

    def _first(self) -> Outcome:
        share, plan, future = self._waiting.popleft()
        try:
            return share, plan, future.result()
        except ConfigError:
            raise  # a form that features cannot have is wrong for every video
        except TedError as error:
            return share, plan, error

    def _convert(self, share: Share, plan: VideoPlan, report: ExtractionReport) -> ExtractionReport:
        written, skipped = self._request.store_as.convert(
            self._cache, plan, share.video, self._device, overwrite=self._request.overwrite
        )
        return replace(report, written=written, skipped=skipped)
