"""The page on clusters: its SLURM example is run, with a `sbatch` that only keeps what is submitted."""

import os
import re
import shlex
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from ted.pipeline.choices.hints import explain
from ted.pipeline.cli.base import command
from ted.pipeline.cli.options import ClusterChoice
from ted.propagate import InProcess
from ted.store.errors import ConfigError

PAGE = (Path(__file__).parents[3] / "docs" / "guide" / "cluster.md").read_text()

FAKES = {
    # Keep the script; the number of the job is how many there are.
    "sbatch": 'n=$(ls "$KEPT" | grep -c job); cp "$1" "$KEPT/job$n-$$"; echo "Submitted batch job $n"',
    "scancel": 'echo "$@" >> "$KEPT/cancelled"',
    # The command: wait for the four jobs, which are submitted in the background.
    "ted": 'while [ $(ls "$KEPT" | grep -c job) -lt 4 ]; do sleep 0.05; done; echo "$@" > "$KEPT/command"',
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs, kept = tmp_path / "bin", tmp_path / "kept"
    programs.mkdir()
    kept.mkdir()
    for name, body in FAKES.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", str(kept))
    monkeypatch.chdir(tmp_path)
    return kept


def test_the_slurm_example_submits_the_jobs_it_says(kept: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/guide/cluster.md", "exec"), names)
    cluster = names["cluster"]

    script = cluster.job_script()
    header = re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE)
    assert {"-p cpu", "-A my-project", "-n 1", "--cpus-per-task=16", "--mem=60G", "-t 02:00:00"} <= set(header)
    assert "export ZARR_ASYNC__CONCURRENCY=2\n" in script
    worker = shlex.split(script.splitlines()[-1])
    assert worker[1:4] == ["-m", "distributed.cli.dask_worker", cluster.scheduler_address]
    options = dict(pairwise(worker))
    assert (options["--nworkers"], options["--nthreads"], options["--local-directory"]) == ("8", "1", "/tmp")
    assert options["--memory-limit"] == "7.45GiB"
    assert "--nanny" in worker

    jobs = [path.read_text() for path in kept.glob("job*")]
    assert len(jobs) == 4
    assert all(re.sub(r"--name \S+", "", job) == re.sub(r"--name \S+", "", script) for job in jobs)
    given = _options((kept / "command").read_text().split()[1:])
    assert given.scheduler == cluster.scheduler_address
    assert (given.scheduler_timeout, given.worker_threads) == (3600, 2)
    deadline = time.monotonic() + 120
    while not (kept / "cancelled").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (kept / "cancelled").read_text(), "the jobs end with the script"


def _options(arguments: list[str]) -> ClusterChoice:
    """Return the `ClusterChoice` of a command; it takes its other options as they come."""
    found: list[ClusterChoice] = []

    @command()
    def read(cluster: ClusterChoice) -> None:
        found.append(cluster)

    read.params.append(click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED, expose_value=False))
    read.context_settings = {"ignore_unknown_options": True}
    read.main(arguments, standalone_mode=False)
    return found[0]


def test_every_option_on_the_page_is_there() -> None:
    known = {flag for parameter in ClusterChoice.parameters() for flag in parameter.opts}
    assert known == {"--workers", "--scheduler", "--worker-threads", "--worker-resource", "--scheduler-timeout"}
    assert all(f"`{flag}" in PAGE for flag in known)


def test_without_options_tasks_run_in_this_process() -> None:
    with _options([]).connect() as workers:
        assert isinstance(workers, InProcess)


def test_the_options_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ted.propagate.cluster.connect", lambda **options: options)
    assert _options(["--workers", "3", "--worker-threads", "2"]).connect() == {
        "workers": 3,
        "scheduler": None,
        "threads": 2,
        "resources": {},
        "timeout": 30.0,
    }
    text = "--scheduler host:1 --worker-resource GPU=1 --worker-resource MEM=2.5e9 --scheduler-timeout 0.5"
    assert _options(text.split()).connect() == {
        "workers": None,
        "scheduler": "host:1",
        "threads": None,
        "resources": {"GPU": 1.0, "MEM": 2.5e9},
        "timeout": 0.5,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--workers 2 --scheduler tcp://127.0.0.1:9", "give one of --workers and --scheduler"),
        ("--scheduler nowhere.json", "neither the address"),
        ("--scheduler host:1 --worker-resource GPU", "'GPU' is not NAME=AMOUNT"),
        ("--scheduler host:1 --worker-resource GPU=many", "'GPU=many' is not NAME=AMOUNT"),
        ("--workers 2 --worker-resource GPU=1", "add --scheduler"),
        ("--worker-threads 2", "add --workers or --scheduler"),
    ],
)
def test_options_that_make_no_sense_are_errors(arguments: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _options(arguments.split()).connect()
    assert message in explain(raised.value)
