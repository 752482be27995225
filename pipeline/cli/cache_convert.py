"""``ted cache convert``: store features with a smaller codec."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..choices.hints import explain, plural
from .cache_units import feature_filters, select_features
from .options import CONTEXT, cache_option, json_option

if TYPE_CHECKING:
    from ..runs.converting.converting import ConversionReport

__all__ = ["convert", "describe_error"]


@click.command(context_settings=CONTEXT)
@cache_option
@click.option(
    "--to",
    "notation",
    required=True,
    metavar="FORM",
    help="Codec: int8, bitround:N (bits of the mantissa), pca:N (components, fitted to each unit), pca:FILE with "
    "components in a .npy or .npz file, or the notation of a plug-in's codec.",
)
@feature_filters
@click.option("--remove-source", is_flag=True, help="Remove the float16 features once the converted ones are verified.")
@click.option("--overwrite", is_flag=True, help="Replace units of this codec that were made from other features.")
@click.option("--device", default="auto", help="Where the error is measured: auto, cpu, cuda or cuda:N.")
@json_option
def convert(
    cache: Path,
    notation: str,
    remove_source: bool,
    overwrite: bool,
    device: str,
    as_json: bool,
    **filters: Any,
) -> None:
    """Store features with a smaller codec, beside float16, and measure the error.

    The error is recorded with each unit (`ted cache info`). The same command resumes an interrupted conversion, and
    leaves converted units as they are.
    """
    from ...store import FLOAT16, open_cache, parse_codec
    from ...store.errors import ConfigError, TedError, UnitNotFoundError
    from ..runs.converting.converting import convert_unit
    from ..runs.converting.converting import remove_source as remove
    from ..runs.devices import choose_device
    from ..runs.progress import FrameBars

    codec = parse_codec(notation)
    if codec.family == FLOAT16.family:
        raise ConfigError("--to float16: what a smaller codec dropped cannot be restored; extract again")
    where = choose_device(device)
    store = open_cache(cache)
    found = [entry for entry in select_features(cache, **filters) if entry.state != "incomplete"]
    entries = [entry for entry in found if entry.spec.form in (FLOAT16.name, codec.staging().name)]
    if not entries and not any(entry.spec.form == codec.name for entry in found):
        raise UnitNotFoundError(f"no complete float16 features in {cache} fit; `ted cache ls` lists what there is")
    rows: list[dict[str, Any]] = []
    failures = 0
    with FrameBars() as bars:
        for entry in entries:
            try:
                advance = bars.start(entry.spec.label, entry.spec.frame_count)
                unit = entry.open()
                report = convert_unit(
                    store,
                    unit,
                    codec,
                    device=where,
                    overwrite=overwrite,
                    progress=advance,
                )
                if remove_source:
                    remove(store, unit, report)
            except TedError as error:
                failures += 1
                rows.append({"unit": entry.spec.label, "error": explain(error)})
                bars.note(f"Error: {entry.spec.label}: {explain(error)}")
                continue
            rows.append(
                {
                    "unit": report.spec.label,
                    "folder": str(report.folder),
                    "skipped": report.skipped,
                    "bytes": report.bytes,
                    "source_bytes": report.source_bytes,
                    "source_removed": remove_source,
                    "measured": dict(report.error),
                    "seconds": round(report.seconds, 2),
                }
            )
            bars.note(describe_error(report))
    if as_json:
        click.echo(json.dumps({"form": codec.name, "units": rows}, indent=1))
    else:
        before, after = (sum(row.get(key, 0) for row in rows) for key in ("source_bytes", "bytes"))
        share = f", {100 * after / before:.1f} % of float16" if before else ""
        converted = plural(len(rows) - failures, "unit")
        click.echo(f"{converted} as {codec}, {failures} failed: {after / 1e6:.1f} MB{share}")
    if failures:
        sys.exit(1)


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
