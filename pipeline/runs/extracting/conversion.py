"""Extraction into another codec than float16: features are staged in float16, converted, and removed.

Extraction writes float16: a codec can need all frames before it can encode the first, and its error is measured against
them. Until then, features are in a staging unit, which no reader takes for float16 (`FeatureCodec.staging`). Complete
ones are converted, and removed once every byte of the result was verified. The next run resumes an interrupted
conversion.
"""

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import torch

from ....extract.plan import VideoPlan
from ....extract.runtime import is_out_of_memory
from ....extract.worker import ExtractionReport
from ....store import FLOAT16, Cache, FeatureCodec, Unit, UnitSpec
from ....store.errors import ConfigError, CorruptUnitError, LabelError, TedError
from ...datasets.video import Video
from ..converting.converting import ConversionReport, convert_unit, remove_source
from .request import ExtractionRequest, Share

#: A share, its plan of float16 units, and its report or the error that ended it.
Outcome = tuple[Share, VideoPlan, ExtractionReport | TedError]

#: Maximum number of videos that wait for conversion: staged features take space on the disk.
_MOST_WAITING = 2


def goal_specs(codec: FeatureCodec, plan: VideoPlan) -> list[UnitSpec]:
    """Return the units that a run makes in the end, in its codec."""
    return [replace(spec, form=codec.name) for spec in plan.specs.values()]


def plan_of_staged(request: ExtractionRequest, cache: Cache, plan: VideoPlan) -> VideoPlan:
    """Return a plan of the units to extract: without those that are complete with either codec."""
    codec = request.codec
    if codec == FLOAT16:
        return plan
    specs = {
        key: replace(spec, form=codec.staging().name)
        for (key, spec), goal in zip(plan.specs.items(), goal_specs(codec, plan), strict=True)
        if request.overwrite or "complete" not in (cache.state(goal), cache.state(spec))
    }
    return replace(plan, specs=specs)


class Converter:
    """Convert extracted features to the codec of a request, in a thread; use as a context manager.

    The codec's error is measured on `device`, or on the CPU if the device has too little memory.
    """

    def __init__(self, request: ExtractionRequest, cache: Cache, device: torch.device) -> None:
        self._request = request
        self._cache = cache
        self._device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ted-convert")
        self._waiting: deque[tuple[Share, VideoPlan, Future[ExtractionReport]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, share: Share, plan: VideoPlan, report: ExtractionReport) -> Iterator[Outcome]:
        """Queue an extracted share; yield shares that are finished, this one or earlier ones."""
        if self._request.codec == FLOAT16:
            yield share, plan, report
            return
        self._waiting.append((share, plan, self._pool.submit(self._convert, share.video, plan, report)))
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

    def _convert(self, video: Video, plan: VideoPlan, report: ExtractionReport) -> ExtractionReport:
        """Store a plan's features with the codec, and remove staged ones; return the report of the new units."""
        cache, codec = self._cache, self._request.codec
        written: list[UnitSpec] = []
        skipped: list[UnitSpec] = []
        for spec, goal in zip(plan.specs.values(), goal_specs(codec, plan), strict=True):
            staged = replace(spec, form=codec.staging().name)
            waiting = cache.state(staged) == "complete"
            if cache.state(goal) == "complete" and not waiting:
                skipped.append(goal)
                continue
            unit = Unit((staged if waiting else spec).folder(cache.root))
            try:
                conversion = self._convert_unit(unit, video)
                if waiting:
                    remove_source(cache, unit, conversion)
            except CorruptUnitError:
                # Another process may have been faster, and have removed the staged unit.
                if cache.state(goal) != "complete" or cache.state(staged) != "absent":
                    raise
                skipped.append(goal)
            else:
                (skipped if conversion.skipped else written).append(goal)
        return replace(report, written=tuple(written), skipped=tuple(skipped))

    def _convert_unit(self, unit: Unit, video: Video) -> ConversionReport:
        mask = None
        if video.annotated_masks:
            with contextlib.suppress(LabelError):  # propagation reports masks that do not fit the video
                mask = video.read_annotated_masks().get(0)
        options: Mapping[str, Any] = {"first_mask": mask, "overwrite": self._request.overwrite}
        try:
            return convert_unit(self._cache, unit, self._request.codec, device=self._device, **options)
        except (RuntimeError, MemoryError) as error:
            if self._device.type == "cpu" or not is_out_of_memory(error):
                raise
        return convert_unit(self._cache, unit, self._request.codec, **options)
