"""Extraction into another codec than float16: features are staged in float16, converted, and removed."""

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch

from ....extract.plan import VideoPlan
from ....extract.runtime import is_out_of_memory
from ....extract.worker import ExtractionReport
from ....store import FLOAT16, Cache, FeatureCodec, Unit, UnitSpec
from ....store.errors import ConfigError, CorruptUnitError, LabelError, TedError
from ...datasets.video import Video
from ..converting.converting import convert_unit, remove_source

if TYPE_CHECKING:
    from .request import ExtractionRequest, Share

__all__ = ["Converter", "Outcome", "StoredAs"]

#: A share, its plan of float16 units, and its report or the error that ended it.
Outcome = tuple["Share", VideoPlan, ExtractionReport | TedError]

#: Maximum number of videos that wait for conversion: staged features take space on the disk.
_MOST_WAITING = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredAs:
    """The codec that extracted features are stored with.

    Extraction writes float16: a codec can need all frames before it can encode the first, and its error is measured
    against them. Until then, features are in a staging unit, which no reader takes for float16
    (`FeatureCodec.staging`). Complete ones are converted, and removed once every byte of the result was verified. The
    next run resumes an interrupted conversion.

    Attributes
    ----------
    codec
        The codec.
    """

    codec: FeatureCodec = FLOAT16

    def goals(self, plan: VideoPlan) -> list[UnitSpec]:
        """Return the units that the run makes in the end, in this codec."""
        return [self._goal(spec) for spec in plan.specs.values()]

    def to_extract(self, cache: Cache, plan: VideoPlan, *, overwrite: bool) -> VideoPlan:
        """Return a plan of the units to extract: without those that are complete with either codec."""
        if self.codec == FLOAT16:
            return plan
        specs = {
            key: replace(spec, form=self.codec.staging().name)
            for key, spec in plan.specs.items()
            if overwrite or "complete" not in (cache.state(self._goal(spec)), cache.state(spec))
        }
        return replace(plan, specs=specs)

    def convert(
        self, cache: Cache, plan: VideoPlan, video: Video, device: torch.device, *, overwrite: bool
    ) -> tuple[tuple[UnitSpec, ...], tuple[UnitSpec, ...]]:
        """Store a plan's features with the codec, and remove staged ones.

        Parameters
        ----------
        cache
            The cache.
        plan
            The plan of the float16 units.
        video
            The video, whose first mask, if any, is used to measure the codec's error.
        device
            Where the error is measured; the CPU if the device has too little memory.
        overwrite
            Convert complete units again.

        Returns
        -------
        written, skipped : tuple of UnitSpec
            Units that were written now, and units that were complete before.

        Raises
        ------
        TedError
            As `convert_unit` does.
        """
        written: list[UnitSpec] = []
        skipped: list[UnitSpec] = []
        for spec in plan.specs.values():
            goal, staged = self._goal(spec), replace(spec, form=self.codec.staging().name)
            there = cache.state(goal) == "complete"
            waiting = cache.state(staged) == "complete"
            if there and not waiting:
                skipped.append(goal)
                continue
            unit = Unit((staged if waiting else spec).folder(cache.root))
            try:
                report = self._convert(cache, unit, video, device, overwrite=overwrite)
                if waiting:
                    remove_source(cache, unit, report)
            except CorruptUnitError:
                # Another process may have been faster, and have removed the staged unit.
                if cache.state(goal) != "complete" or cache.state(staged) != "absent":
                    raise
                skipped.append(goal)
            else:
                (skipped if report.skipped else written).append(goal)
        return tuple(written), tuple(skipped)

    def _goal(self, spec: UnitSpec) -> UnitSpec:
        return replace(spec, form=self.codec.name)

    def _convert(self, cache: Cache, unit: Unit, video: Video, device: torch.device, *, overwrite: bool) -> Any:
        mask = None
        if video.annotated_masks:
            with contextlib.suppress(LabelError):  # propagation reports masks that do not fit the video
                mask = video.read_annotated_masks().get(0)
        options: Mapping[str, Any] = {"first_mask": mask, "overwrite": overwrite}
        try:
            return convert_unit(cache, unit, self.codec, device=device, **options)
        except (RuntimeError, MemoryError) as error:
            if device.type == "cpu" or not is_out_of_memory(error):
                raise
        return convert_unit(cache, unit, self.codec, **options)


class Converter:
    """Convert extracted features to the codec of a request, in a thread; use as a context manager.

    Parameters
    ----------
    request
        The extraction, with its codec.
    cache
        The cache.
    device
        Where the codec's error is measured.
    """

    def __init__(self, request: "ExtractionRequest", cache: Cache, device: torch.device) -> None:
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

    def add(self, share: "Share", plan: VideoPlan, report: ExtractionReport) -> Iterator[Outcome]:
        """Queue an extracted share; yield shares that are finished, this one or earlier ones."""
        if self._request.store_as.codec == FLOAT16:
            yield share, plan, report
            return
        self._waiting.append((share, plan, self._pool.submit(self._convert, share, plan, report)))
        while self._waiting and (len(self._waiting) > _MOST_WAITING or self._waiting[0][2].done()):
            yield self._first()

    def rest(self) -> Iterator[Outcome]:
        """Yield the other shares as they are finished."""
        while self._waiting:
            yield self._first()

    def _first(self) -> Outcome:
        share, plan, future = self._waiting.popleft()
        try:
            return share, plan, future.result()
        except ConfigError:
            raise  # a codec that cannot store these features is wrong for every video
        except TedError as error:
            return share, plan, error

    def _convert(self, share: "Share", plan: VideoPlan, report: ExtractionReport) -> ExtractionReport:
        written, skipped = self._request.store_as.convert(
            self._cache, plan, share.video, self._device, overwrite=self._request.overwrite
        )
        return replace(report, written=written, skipped=skipped)
