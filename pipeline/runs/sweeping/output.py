"""The folder of a sweep: tables, configuration, timing and pictures."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...choices.config_file import save_config
from .plots import can_draw, write_plots
from .results import SweepResult
from .space import Setting
from .tables import write_json, write_tables

__all__ = ["write_outputs"]

_log = logging.getLogger(__name__)


def write_outputs(
    result: SweepResult,
    folder: Path,
    *,
    options: Mapping[str, Any],
    timing: Mapping[str, Any],
    plots: bool,
    compare: Setting | None = None,
) -> list[Path]:
    """Write what a sweep found.

    Parameters
    ----------
    result
        The scores.
    folder
        Where to.
    options
        Resolved options of ``ted sweep``, for ``sweep.toml``.
    timing
        For ``timing.json``.
    plots
        Whether to draw; without matplotlib a warning says how to get it.
    compare
        A setting that the best ones are compared with, if it is one of the sweep's.

    Returns
    -------
    list of Path
        The files.
    """
    files = write_tables(result, folder)
    save_config(folder / "sweep.toml", "sweep", options)
    write_json(folder / "timing.json", timing)
    files += [folder / "sweep.toml", folder / "timing.json"]
    if plots and can_draw():
        files += write_plots(result, folder, default=compare)
    elif plots:
        _log.warning("no pictures: they need matplotlib (python -m pip install matplotlib)")
    return files
