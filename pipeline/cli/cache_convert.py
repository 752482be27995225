"""``ted cache convert``: store features with a smaller codec."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..choices.hints import plural
from .base import Tally, answer, command, next_command, opt, titled
from .cache_units import FeatureFilter
from .options import CACHE, DEVICE

if TYPE_CHECKING:
    from ..runs.converting.converting import ConversionReport


@command(json=True)
def convert(
    units: FeatureFilter,
    notation: str = opt(
        "Codec: int8, bitround:N (bits of the mantissa), pca:N (components, fitted to each unit), pca:FILE with "
        "components in a .npy or .npz file, or the notation of a plug-in's codec.",
        flag="--to",
        title="Conversion",
        required=True,
        metavar="FORM",
    ),
    remove_source: bool = opt("Remove the float16 features once the converted ones are verified."),
    overwrite: bool = opt("Replace units of this codec that were made from other features."),
    device: str = DEVICE,
    cache: Path = titled("Input and output", CACHE),
) -> None:
    """Store features with a smaller codec, beside float16, and measure the error.

    The error is recorded with each unit (`ted cache info`). The same command resumes an interrupted conversion, and
    leaves converted units as they are.

    For example:
        ted cache convert --to int8
        ted cache convert --to pca:64 --feature i2vgen-xl:300:up_blocks[2]
        ted cache convert --to bitround:4 --video camel --remove-source
    """
    from ...store import FLOAT16, open_cache, parse_codec
    from ...store.errors import ConfigError, UnitNotFoundError
    from ..runs.converting.converting import convert_unit
    from ..runs.converting.converting import remove_source as remove
    from ..runs.devices import choose_device
    from ..runs.progress import FrameBars

    codec = parse_codec(notation)
    if codec.family == FLOAT16.family:
        raise ConfigError("--to float16: what a smaller codec dropped cannot be restored; extract again")
    where = choose_device(device)
    store = open_cache(cache)
    found = [entry for entry in units.features(cache) if entry.state != "incomplete"]
    entries = [entry for entry in found if entry.spec.form in (FLOAT16.name, codec.staging().name)]
    if not entries and not any(entry.spec.form == codec.name for entry in found):
        raise UnitNotFoundError(f"no complete float16 features in {cache} fit; `ted cache ls` lists what there is")
    with FrameBars() as bars:
        tally = Tally(bars.note, stop_on_wrong_use=False)
        for entry in entries:
            with tally.item("unit", entry.spec.label) as row:
                unit = entry.open()
                report = convert_unit(
                    store,
                    unit,
                    codec,
                    device=where,
                    overwrite=overwrite,
                    progress=bars.start(entry.spec.label, entry.spec.frame_count),
                )
                if remove_source:
                    remove(store, unit, report)
                row |= {
                    "unit": report.spec.label,
                    "folder": str(report.folder),
                    "skipped": report.skipped,
                    "bytes": report.bytes,
                    "source_bytes": report.source_bytes,
                    "source_removed": remove_source,
                    "measured": dict(report.error),
                    "seconds": round(report.seconds, 2),
                }
                bars.note(describe_error(report))
    before, after = (sum(row[key] for row in tally.done) for key in ("source_bytes", "bytes"))
    share = f", {100 * after / before:.1f} % of float16" if before else ""
    answer(
        {"form": codec.name, "units": tally.rows},
        f"{plural(len(tally.done), 'unit')} as {codec}, {tally.failures} failed: {after / 1e6:.1f} MB{share}",
        then=[next_command(remove_source=True)] if tally.done and not remove_source else [],
    )
    tally.finish()


def describe_error(report: "ConversionReport") -> str:
    """Return one line about a conversion."""
    size = f"{100 * report.bytes / report.source_bytes:.1f} % of float16"
    state = "there before" if report.skipped else f"{report.seconds:.1f} s"
    error = report.error
    if error.get("mask_agreement") is None:
        return f"{report.spec.label}: {size}, {state}"
    measure, compared = "cosine", "cosines"
    if error.get("attention_mean") is not None:
        measure, compared = "attention", "attention weights"
    return (
        f"{report.spec.label}: {size}, {state}; in {error['frames']} frames {compared} differ by "
        f"{error[f'{measure}_mean']:.1e} on average, {100 * error['top_k_overlap']:.2f} % of the best sources and "
        f"{100 * error['mask_agreement']:.2f} % of the mask pixels ({error['mask']}) stay the same"
    )
