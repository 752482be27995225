"""Conversion: store the features of a float16 unit with a smaller codec, and measure the error."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....extract.runtime import describe_process
from ....propagate import PropagationSettings
from ....store import FLOAT16, Cache, FeatureCodec, Unit, UnitSpec, verify_unit
from ....store.errors import CacheError, ConfigError, CorruptUnitError
from .codec_error import CodecError, measure_error

#: Number of frames, from the first of a video, on which a codec's error is measured.
ERROR_FRAMES = 8

# Frames in one commit.
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """Result of the conversion of one unit."""

    spec: UnitSpec  # the unit that was written
    folder: Path  # the unit's folder
    skipped: bool  # whether the unit existed, made from the same features
    source_bytes: int  # sizes of the float16 unit and of the new unit
    bytes: int
    error: Mapping[str, Any]  # the error in the unit's run record (`CodecError`); empty if the record is lost
    seconds: float  # wall time


def convert_unit(
    cache: Cache,
    unit: Unit,
    codec: FeatureCodec,
    *,
    first_mask: NDArray[np.integer[Any]] | None = None,
    settings: PropagationSettings | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> ConversionReport:
    """Store a unit's features with another codec, and measure the error on its first frames.

    An interrupted conversion of the same features is resumed. The source stays; see `remove_source`.

    Parameters
    ----------
    cache
        The cache.
    unit
        The features: a complete unit in float16, or a staging unit of this codec (`FeatureCodec.staging`).
    codec
        The codec.
    first_mask, settings, device
        Arguments of `measure_error`.
    overwrite
        Replace a unit of this codec that was made from other features.
    progress
        Called with the number of frames just done.

    Raises
    ------
    ConfigError
        For features that are not in float16, and for a codec that cannot store them.
    CacheError
        For a unit of this codec made from other features, features that are damaged, or a failing disk.
    ClaimedError
        When another process writes the same unit.
    """
    clock, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    source = unit.spec.codec
    if source.family != FLOAT16.family or codec.family == FLOAT16.family:
        raise ConfigError(f"{unit.spec.label} is stored as {source}: only float16 can be converted, and not to itself")
    codec.check(unit.shape[-1])
    spec = replace(unit.spec, form=codec.name, source=unit.content_hash)
    there = None if overwrite else _complete(cache, spec)
    if there is None:
        with cache.writer(spec, overwrite=overwrite, repair=True) as writer:
            if spec.layout.shared_arrays and not writer.parameters:
                writer.set_parameters(codec.fit(_frames(unit)))
            done = writer.done
            progress(len(done))
            for frame, features in enumerate(_frames(unit, skip=done)):
                if features is not None:
                    writer.write(frame, features)
                    progress(1)
                if frame % _BATCH == _BATCH - 1:
                    writer.commit()
            original = unit.features[:ERROR_FRAMES].compute(scheduler="synchronous")
            decoded = codec.decode(codec.encode(original, writer.parameters), writer.parameters)
            if spec.tap.endswith((":qk", ":q", ":k")):  # as propagation reads attention
                decoded = codec.reconstruct(decoded, writer.parameters)
            error = measure_error(
                original,
                decoded,
                frame_size=unit.frame_size,
                source_size=unit.spec.source_size,
                first_mask=first_mask,
                settings=settings,
                spec=spec,
                device=device,
            )
            writer.finish(_run_record(unit, error, started, time.monotonic() - clock))
    else:
        progress(spec.frame_count)
    made = there or Unit(spec.folder(cache.root))
    return ConversionReport(
        spec=spec,
        folder=made.folder,
        skipped=there is not None,
        source_bytes=unit.marker.total_bytes,
        bytes=made.marker.total_bytes,
        error=made.run_record.get("error", {}),
        seconds=time.monotonic() - clock,
    )


def remove_source(cache: Cache, unit: Unit, report: ConversionReport) -> None:
    """Remove converted features, once every byte of the new unit has been verified.

    Raises
    ------
    CorruptUnitError
        When the new unit is damaged, or was made from other features. Nothing is removed then.
    """
    verdict = verify_unit(report.folder)
    if verdict.state != "ok" or Unit(report.folder).spec.source != unit.content_hash:
        raise CorruptUnitError(
            f"{report.folder} does not hold {unit.spec.label}, which therefore stays: "
            f"{'; '.join(verdict.problems) or 'it was made from other features'}"
        )
    cache.remove(unit.folder)


def _complete(cache: Cache, spec: UnitSpec) -> Unit | None:
    """Return the new unit if it is complete already, else None; raises CacheError if it has other features."""
    if cache.state(spec) != "complete":
        return None
    there = Unit(spec.folder(cache.root))
    if there.spec.source != spec.source:
        raise CacheError(
            f"{spec.label} exists, but was made from other features (have they been extracted again since?): "
            "replace it with --overwrite"
        )
    return there


def _frames(unit: Unit, *, skip: frozenset[int] = frozenset()) -> Iterator[Any]:
    """Yield features (y, x, channel) frame by frame, one in memory; None for those to be skipped."""
    for frame in range(unit.spec.frame_count):
        yield None if frame in skip else unit.features[frame].compute(scheduler="synchronous")


def _run_record(unit: Unit, error: CodecError, started: str, seconds: float) -> dict[str, Any]:
    """Describe the conversion, beside the run that made the features."""
    return unit.run_record | {
        "conversion": {
            **describe_process(("ted-tracking", "zarr", "numpy", "numcodecs")),
            "started": started,
            "seconds": round(seconds, 3),
        },
        "error": error.to_json(),
    }
