"""Checks that the workers of a cluster have the software and see the files of this process."""

import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed import Client

from ..store.errors import ConfigError, TedError
from ..store.marker import read_marker
from .cluster import Stored
from .dask_clients import ask

#: Packages whose versions must be equal everywhere, since other versions cannot read their pickles.
_EQUAL = ("dask", "distributed", "ted-tracking")
#: Packages whose versions can change the last digits of a result.
_SIMILAR = ("numpy", "torch", "zarr")
#: Time limit in seconds for reading a unit's marker.
_READ_S = 1.0
_SAME_ENVIRONMENT = "start the scheduler and the workers from the same environment as this command"

_log = logging.getLogger(__name__)


def check_versions(client: Client, workers: Sequence[str], timeout: float) -> None:
    """Compare the software of a scheduler and its workers (by address) with this process's.

    If versions of numpy, torch or zarr differ, only a warning is logged.

    Raises
    ------
    TedError
        When the scheduler does not answer in time.
    ConfigError
        When versions of Python, dask, distributed or this package differ, or a worker cannot import this package.
    """
    found = ask(client, client.get_versions, packages=[*_EQUAL, *_SIMILAR], timeout=timeout)
    own = _versions(found["client"])
    scheduler = f"the scheduler {client.scheduler.address}"
    places = {scheduler: found["scheduler"]}
    places |= {f"worker {address}": found["workers"][address] for address in workers if address in found["workers"]}
    errors: list[str] = []
    remarks: list[str] = []
    for place, report in places.items():
        for name, version in _versions(report).items():
            if version == own[name] or (name in _SIMILAR and place == scheduler):
                continue
            difference = f"{place} has {name} {version or 'missing'}, this process {own[name] or 'none installed'}"
            (remarks if name in _SIMILAR else errors).append(difference)
    if errors:
        raise ConfigError(f"the cluster runs other software: {_some(errors)}. S{_SAME_ENVIRONMENT[1:]}")
    if remarks:
        _log.warning("results may differ in the last digits: %s", _some(remarks))
    answers: dict[str, Any] = ask(
        client, client.run, _hostname, workers=list(workers), on_error="return", timeout=timeout
    )
    try:
        ask(client, client.run_on_scheduler, _hostname, timeout=timeout)
    except Exception as error:  # dask raises the scheduler's error, or another one
        answers[scheduler] = error
    failed = [f"{place} ({error})" for place, error in answers.items() if "ModuleNotFoundError" in repr(error)]
    if failed:
        raise ConfigError(f"this package cannot be imported at {_some(failed)}: {_SAME_ENVIRONMENT}")


def compare_units(client: Client, workers: Sequence[str], units: Sequence[Stored], timeout: float) -> None:
    """Check that each worker finds the same units at the same paths; see `ted.propagate.cluster.check_access`."""
    expected = {str(unit.folder): unit.content_hash for unit in units}
    # Allow more time: every worker reads small files of every unit, which is slow on a busy file system.
    patience = max(timeout, _READ_S * len(expected))
    answers = ask(
        client, client.run, _read_hashes, list(expected), workers=list(workers), on_error="return", timeout=patience
    )
    troubles = []
    for worker, answer in answers.items():
        if isinstance(answer, OSError):
            continue  # the worker has gone; others get its tasks
        if isinstance(answer, Exception):
            troubles.append(f"worker {worker}: {answer}")
            continue
        host, hashes = answer
        for folder, found in hashes.items():
            if isinstance(found, TedError):
                troubles.append(f"worker {worker} on host {host} cannot read {folder} ({found})")
            elif found != expected[folder]:
                troubles.append(f"worker {worker} on host {host} finds other content in {folder}")
    if troubles:
        raise ConfigError(
            f"workers do not see the cache that this process sees: {_some(troubles)}. Put the cache on a file system "
            "that all nodes mount at the same path, and name it by its absolute path"
        )


def _read_hashes(folders: Sequence[str]) -> tuple[str, dict[str, str | TedError]]:
    """Return this host's name, and a mapping from folders to content hashes, or to the errors on reading them."""
    hashes: dict[str, str | TedError] = {}
    for folder in folders:
        try:
            hashes[folder] = read_marker(Path(folder)).content_hash
        except TedError as error:
            hashes[folder] = error
    return _hostname(), hashes


def _hostname() -> str:
    return socket.gethostname()  # a function of this package, so that running it imports the package


def _versions(report: dict[str, Any]) -> dict[str, Any]:
    packages = report["packages"]
    versions = {name: packages.get(name) for name in (*_EQUAL, *_SIMILAR)}
    return {"Python": ".".join(packages["python"].split(".")[:2])} | versions


def _some(items: Sequence[str], limit: int = 3) -> str:
    more = len(items) - limit
    return "; ".join(items[:limit]) + (f"; and {more} more" if more > 0 else "")
