"""Checks that the workers of a cluster have the software and see the files of this process."""

import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from distributed import Client

from ..store.errors import ConfigError, TedError
from ..store.marker import read_marker
from .dask_clients import ask

__all__ = ["Stored", "check_versions", "compare_units"]

#: Packages whose versions must be equal everywhere, since other versions cannot read their pickles.
_EQUAL = ("dask", "distributed", "ted-tracking")
#: Packages whose versions can change the last digits of a result.
_SIMILAR = ("numpy", "torch", "zarr")
#: Time limit in seconds for reading a unit's marker.
_READ_S = 1.0

_log = logging.getLogger(__name__)


class Stored(Protocol):
    """A unit of the cache."""

    @property
    def folder(self) -> Path:
        """The unit's folder."""

    @property
    def content_hash(self) -> str:
        """Hash of the unit's content."""


def check_versions(client: Client, workers: Sequence[str], timeout: float) -> None:
    """Compare the software of a scheduler and its workers with this process's.

    If versions of numpy, torch or zarr differ, only a warning is logged.

    Parameters
    ----------
    client
        A client of the cluster.
    workers
        Addresses of the workers that will get tasks.
    timeout
        Seconds to wait for each answer.

    Raises
    ------
    TedError
        When the scheduler does not answer.
    ConfigError
        When versions of Python, dask, distributed or this package differ, or a worker cannot import this package.
    """
    found = ask(client, client.get_versions, packages=[*_EQUAL, *_SIMILAR], timeout=timeout)
    own = _versions(found["client"])
    places = {f"the scheduler {client.scheduler.address}": found["scheduler"]}
    places |= {f"worker {address}": found["workers"][address] for address in workers if address in found["workers"]}
    errors: list[str] = []
    remarks: list[str] = []
    for place, report in places.items():
        versions = _versions(report)
        for name in ("Python", *_EQUAL, *_SIMILAR):
            if versions[name] == own[name] or (name in _SIMILAR and place.startswith("the scheduler")):
                continue
            difference = (
                f"{place} has {name} {versions[name] or 'missing'}, this process {own[name] or 'none installed'}"
            )
            (remarks if name in _SIMILAR else errors).append(difference)
    if errors:
        raise ConfigError(
            f"the cluster runs other software: {_some(errors)}. Start the scheduler and the workers from the same "
            "environment as this command"
        )
    if remarks:
        _log.warning("results may differ in the last digits: %s", _some(remarks))
    _check_import(client, workers, timeout)


def _check_import(client: Client, workers: Sequence[str], timeout: float) -> None:
    answers: dict[str, Any] = ask(
        client, client.run, _hostname, workers=list(workers), on_error="return", timeout=timeout
    )
    try:
        ask(client, client.run_on_scheduler, _hostname, timeout=timeout)
    except Exception as error:  # dask raises the scheduler's error, or another one
        answers[f"the scheduler {client.scheduler.address}"] = error
    failed = [f"{place} ({error})" for place, error in answers.items() if "ModuleNotFoundError" in repr(error)]
    if failed:
        raise ConfigError(
            f"this package cannot be imported at {_some(failed)}: start the scheduler and the workers from the same "
            "environment as this command"
        )


def compare_units(client: Client, workers: Sequence[str], units: Sequence[Stored], timeout: float) -> None:
    """Check that each worker finds the same units at the same paths; see `ted.propagate.cluster.check_access`."""
    expected = {str(unit.folder): unit.content_hash for unit in units}
    troubles = []
    # Allow more time: every worker reads small files of every unit, which is slow on a busy file system.
    patience = max(timeout, _READ_S * len(expected))
    answers = ask(
        client, client.run, _read_hashes, list(expected), workers=list(workers), on_error="return", timeout=patience
    )
    for worker, answer in answers.items():
        if isinstance(answer, OSError):
            continue  # the worker has gone; others get its tasks
        if isinstance(answer, Exception):
            troubles.append(f"worker {worker}: {answer}")
            continue
        host, hashes = answer
        for folder, found in hashes.items():
            place = f"worker {worker} on host {host}"
            if isinstance(found, TedError):
                troubles.append(f"{place} cannot read {folder} ({found})")
            elif found != expected[folder]:
                troubles.append(f"{place} finds other content in {folder}")
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
    return socket.gethostname()


def _versions(report: dict[str, Any]) -> dict[str, Any]:
    packages = report["packages"]
    return {"Python": ".".join(packages["python"].split(".")[:2])} | {
        name: packages.get(name) for name in (*_EQUAL, *_SIMILAR)
    }


def _some(items: Sequence[str], limit: int = 3) -> str:
    more = len(items) - limit
    return "; ".join(items[:limit]) + (f"; and {more} more" if more > 0 else "")
