"""Storing features in another form: a float16 unit in, the same features in a smaller one out, with its error."""

import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....propagate import PropagationSettings
from ....store import Cache, Form, Unit, UnitSpec
from ....store.encoding import decode, encode
from ....store.errors import CacheError, ConfigError, CorruptUnitError
from ....store.fitting import check_form_fits, fit
from ....store.integrity import verify_unit
from .codec_error import FormError, measure_error

__all__ = ["ERROR_FRAMES", "ConversionReport", "convert_unit", "remove_source"]

#: Frames on which the error of a form is measured, the first of a video: a cost that does not grow with it.
ERROR_FRAMES = 8

# Frames that go to the disk together.
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What conversion did for one unit.

    Attributes
    ----------
    spec
        The unit that was written.
    folder
        Where it is.
    skipped
        Whether it was there before, made from the same features.
    source_bytes, bytes
        Size of the float16 unit, and of this one.
    error
        What its run record says of its error (`FormError`); empty if that was lost.
    seconds
        Wall time.
    """

    spec: UnitSpec
    folder: Path
    skipped: bool
    source_bytes: int
    bytes: int
    error: Mapping[str, Any]
    seconds: float


def convert_unit(
    cache: Cache,
    unit: Unit,
    form: Form,
    *,
    components: NDArray[np.floating[Any]] | None = None,
    first_mask: NDArray[np.integer[Any]] | None = None,
    settings: PropagationSettings | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> ConversionReport:
    """Write a unit's features in another form, and measure the error on its first frames.

    What an interrupted conversion of the same features left is taken up. The source stays; see `remove_source`.

    Parameters
    ----------
    cache
        Where to.
    unit
        The features: a complete unit in float16, or in float16 on its way to this form (`Form.staging`).
    form
        The form.
    components
        Of a form ``pca`` with a given basis: (component, channel), orthonormal.
    first_mask, settings, device
        For measuring the error, as `measure_error` takes them.
    overwrite
        Replace a unit of this form that was made from other features.
    progress
        Called with the number of frames just settled.

    Raises
    ------
    ConfigError
        For features that are not in float16, and for a form that they cannot have.
    CacheError
        For a unit of this form made from other features, features that are damaged, or a failing disk.
    ClaimedError
        When another process writes the same unit.
    """
    clock, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    source = unit.spec.encoding
    if source.family != "float16" or form.family == "float16":
        raise ConfigError(f"{unit.spec.label} is stored as {source}: only float16 can be converted, and not to itself")
    channels = unit.shape[-1]
    check_form_fits(form, channels)
    if (components is not None) != bool(form.basis):
        raise ConfigError(f"{form} takes {'given' if form.basis else 'no given'} components")
    if components is not None and components.shape[1] != channels:
        raise ConfigError(f"{unit.spec.label} has {channels} channels; the components of {form} are of others")
    spec = replace(unit.spec, form=form.name, source=unit.content_hash)
    there = None if overwrite else _complete(cache, spec)
    if there is None:
        with cache.writer(spec, overwrite=overwrite, repair=True) as writer:
            if spec.kind.shared_arrays and not writer.parameters:
                given = None if components is None else {"components": components}
                writer.set_parameters(given or fit(form, _frames(unit)))
            done = writer.done
            progress(len(done))
            for frame, features in enumerate(_frames(unit, skip=done)):
                if features is not None:
                    writer.write(frame, features)
                    progress(1)
                if frame % _BATCH == _BATCH - 1:
                    writer.commit()
            error = _measure(unit, form, writer.parameters, first_mask, settings, device)
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
    """Remove features that were converted, after every byte of what was made from them has been verified.

    Raises
    ------
    CorruptUnitError
        When that is damaged, or was made from other features. Nothing is removed then.
    """
    verdict = verify_unit(report.folder)
    if verdict.state != "ok" or Unit(report.folder).spec.source != unit.content_hash:
        raise CorruptUnitError(
            f"{report.folder} is not what was converted from {unit.spec.label}, which therefore stays: "
            f"{'; '.join(verdict.problems) or 'it is of other features'}"
        )
    cache.remove(unit.folder)


def _complete(cache: Cache, spec: UnitSpec) -> Unit | None:
    """Return the unit that is to be made, if it is there, complete; refuse one of other features."""
    if cache.state(spec) != "complete":
        return None
    there = Unit(spec.folder(cache.root))
    if there.spec.source != spec.source:
        raise CacheError(
            f"{spec.label} is there, made from other features than these (extracted anew since?): "
            "replace it with --overwrite"
        )
    return there


def _frames(unit: Unit, *, skip: frozenset[int] = frozenset()) -> Iterator[Any]:
    """Yield features (y, x, channel) frame by frame, one in memory; None for those to be skipped."""
    for frame in range(unit.spec.frame_count):
        yield None if frame in skip else unit.features[frame].compute(scheduler="synchronous")


def _measure(
    unit: Unit,
    form: Form,
    parameters: Mapping[str, NDArray[np.float32]],
    first_mask: NDArray[np.integer[Any]] | None,
    settings: PropagationSettings | None,
    device: torch.device | str,
) -> FormError:
    original = unit.features[:ERROR_FRAMES].compute(scheduler="synchronous")
    return measure_error(
        original,
        decode(form, encode(form, original, parameters), parameters),
        frame_size=unit.frame_size,
        source_size=unit.spec.source_size,
        first_mask=first_mask,
        settings=settings,
        device=device,
    )


def _run_record(unit: Unit, error: FormError, started: str, seconds: float) -> dict[str, Any]:
    """Describe the conversion, beside the run that made the features."""
    return unit.run_record | {
        "conversion": {
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("ted-tracking", "zarr", "numpy", "numcodecs")},
            "started": started,
            "seconds": round(seconds, 3),
        },
        "error": error.to_json(),
    }
