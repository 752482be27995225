"""Tasks on real worker processes give the same results as in this process, even if workers die."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.base import get_scheduler
from dask.local import get_sync

from ted.propagate import InProcess, Workers, check_access, connect
from ted.propagate.cluster_checks import check_versions
from ted.propagate.dask_workers import _IN_THREAD, DaskWorkers
from ted.store import open_cache
from ted.store.errors import ConfigError, CorruptUnitError, TedError
from tests.store.conftest import make_spec, write_unit


@pytest.fixture(scope="module")
def local() -> Iterator[Workers]:
    with connect(workers=2, threads=1) as workers:
        yield workers


@pytest.fixture(params=["local", "in process"])
def workers(request: pytest.FixtureRequest) -> Any:
    return InProcess() if request.param == "in process" else request.getfixturevalue("local")


def address(local: Workers) -> str:
    assert isinstance(local, DaskWorkers)
    return str(local.client.scheduler.address)


def slow_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0)
    return number * number


def damaged(number: int) -> int:
    if number == 2:
        raise CorruptUnitError(f"unit {number} is damaged")
    return number


def settings(values: da.Array) -> dict[str, Any]:
    import dask
    import torch
    import zarr

    return {
        "process": os.getpid(),
        "torch": torch.get_num_threads(),
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "zarr": zarr.config.get("async.concurrency"),
        "dask": dask.config.get("scheduler", None),
        "sum": int(values.sum().compute()),
    }


def die(number: int, deaths: Path, how_often: int) -> int:
    """Kill the worker during task 3, a few times."""
    time.sleep(0.02)
    if number == 3 and len(list(deaths.iterdir())) < how_often:
        (deaths / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def take(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def note_and_wait(folder: Path, number: int) -> int:
    """Record that a task has begun; all but the first wait for a signal to end."""
    (folder / str(number)).write_text("here")
    deadline = time.monotonic() + 120
    while number and not (folder / "go on").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    return number


def note(folder: Path, number: int) -> int:
    (folder / str(number)).write_text("here")
    time.sleep(0.2)
    return number


RUNNING: list[int] = []


def together(number: int) -> int:
    """Return the number of concurrent calls in this process."""
    RUNNING.append(number)
    time.sleep(0.1)
    count = len(RUNNING)
    RUNNING.remove(number)
    return count


def test_results_come_in_the_order_of_the_tasks(workers: Workers) -> None:
    assert list(workers.map(slow_first, ((i,) for i in range(20)))) == [i * i for i in range(20)]
    assert list(workers.map(slow_first, ())) == []


def test_tasks_are_taken_as_results_are_consumed(workers: Workers) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[tuple[int]]:
        for number in range(100):
            taken.append(number)
            yield (number,)

    results = workers.map(slow_first, tasks(), ahead=3)
    assert not taken, "nothing starts before it is asked for"
    for number in range(10):
        assert next(results) == number * number
        assert len(taken) <= number + 3
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 12


def test_twice_the_workers_and_two_are_ahead_by_default(local: Workers) -> None:
    assert local.count == 2
    taken: list[int] = []
    results = local.map(slow_first, ((taken.append(i) or i,) for i in range(100)))  # type: ignore[func-returns-value]
    next(results)
    assert len(taken) == 6


def test_what_has_not_started_is_given_up(local: Workers, tmp_path: Path) -> None:
    assert isinstance(local, DaskWorkers)
    results = local.map(note_and_wait, ((tmp_path, number) for number in range(30)), ahead=30)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 60
    while sum(map(len, local.client.processing().values())) > 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    (tmp_path / "go on").touch()
    assert list(local.map(slow_first, [(5,)])) == [25]
    assert len(list(tmp_path.iterdir())) < 15


def test_what_has_not_started_is_given_up_on_an_error_too(local: Workers, tmp_path: Path) -> None:
    assert isinstance(local, DaskWorkers)
    (tmp_path / "0").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        list(local.map(note, ((tmp_path, number) for number in range(30)), ahead=30))
    wanted = [key for key in local.client.futures if key[0].startswith("note-")]
    assert len(wanted) <= 1, f"no other task is wanted, though {error} is kept, and what it refers to"


def test_errors_are_raised_as_themselves_in_their_place(workers: Workers) -> None:
    results = workers.map(damaged, ((i,) for i in range(6)))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(CorruptUnitError, match="unit 2 is damaged"):
        next(results)


def test_an_error_of_the_tasks_themselves_is_raised_too(workers: Workers) -> None:
    def tasks() -> Iterator[tuple[int]]:
        yield (1,)
        raise CorruptUnitError("no second task")

    with pytest.raises(CorruptUnitError, match="no second task"):
        list(workers.map(slow_first, tasks()))


def test_workers_compute_with_the_threads_given_and_by_themselves(local: Workers) -> None:
    """A task computes dask arrays itself; on the cluster they could wait for the task's own worker."""
    values = da.from_array(np.arange(10), chunks=2)
    own = settings(values)
    found = next(local.map(settings, [(values,)]))
    assert found.pop("process") != own["process"]
    assert found == {"torch": 1, "omp": "1", "zarr": 2, "dask": "synchronous", "sum": 45}
    with connect(scheduler=address(local), threads=2) as workers:
        assert next(workers.map(settings, [(values,)]))["torch"] == 2
    deadline = time.monotonic() + 60
    while get_scheduler() is not None and time.monotonic() < deadline:
        time.sleep(0.05)  # a task that a test of workers in this process gave up may not be over
    assert get_scheduler() is None, "arrays of this process stay here"


def test_tasks_in_threads_of_one_process_end_in_any_order() -> None:
    """Dask's configuration is process-wide, so it must stay set until the last task ends."""
    begun, over = threading.Event(), threading.Event()

    def first() -> None:
        assert begun.wait(60)

    def second() -> Any:
        begun.set()
        assert over.wait(60)
        return get_scheduler()

    def call(function: Callable[[], Any]) -> Any:
        with _IN_THREAD:
            return function()

    before = dask.config.get("scheduler", None)
    with ThreadPoolExecutor(2) as pool:
        earlier, later = pool.submit(call, first), pool.submit(call, second)
        earlier.result(60)
        over.set()
        assert later.result(60) is get_sync
    assert dask.config.get("scheduler", None) == before


def test_a_killed_worker_changes_nothing(local: Workers, tmp_path: Path) -> None:
    expected = list(InProcess().map(slow_first, ((i,) for i in range(12))))
    assert list(local.map(die, ((i, tmp_path, 1) for i in range(12)))) == expected
    assert len(list(tmp_path.iterdir())) == 1, "the worker was killed"


def test_a_task_that_kills_every_worker_is_named(
    local: Workers, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        connect(scheduler=address(local)) as workers,  # leaves the workers' threads alone: they need not import torch
        pytest.raises(TedError, match=r"task 0 \(die\(3, .*: 3 workers died.*memory"),
    ):
        list(workers.map(die, [(3, tmp_path, 99)]))
    assert list(local.map(slow_first, [(5,)])) == [25], "others go on"
    assert capfd.readouterr() == ("", ""), "dask, which replaces them, is quiet"


@pytest.fixture
def small_cluster() -> Iterator[Any]:
    """Start a scheduler with one worker, in this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def test_workers_that_go_away_for_good_are_an_error(small_cluster: Any) -> None:
    with connect(scheduler=small_cluster.scheduler_address, timeout=1) as workers:
        results = workers.map(take, [(0.0,), (0.5,), (0.6,), (0.7,)])
        assert next(results) == 0
        small_cluster.scale(0)
        with pytest.raises(TedError, match=r"task \d \(take.* has no workers, and none came within 1 s"):
            list(results)
        with pytest.raises(TedError, match="has no workers"):  # at once
            list(workers.map(take, [(0.0,)]))


def test_a_scheduler_that_stops_is_an_error(small_cluster: Any) -> None:
    with connect(scheduler=small_cluster.scheduler_address, timeout=1) as workers:
        results = workers.map(take, [(0.0,), (0.5,), (0.6,)])
        assert next(results) == 0
        small_cluster.close()
        with pytest.raises(TedError, match=r"scheduler stopped|scheduler at .* has not answered"):
            list(results)


def test_a_cluster_without_workers_is_an_error(small_cluster: Any) -> None:
    small_cluster.scale(0)
    small_cluster.sync(small_cluster._correct_state)
    with (
        pytest.raises(ConfigError, match=r"has no workers, and none came within 0\.5 s: start some"),
        connect(scheduler=small_cluster.scheduler_address, timeout=0.5),
    ):
        pass


def test_resources_that_no_worker_offers_are_an_error(local: Workers) -> None:
    with (
        pytest.raises(ConfigError, match=r"no worker that offers GPU=1, .*2 workers offer: nothing"),
        connect(scheduler=address(local), resources={"GPU": 1}, timeout=0.5),
    ):
        pass


def test_resources_limit_what_runs_at_once() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            resources={"GPU": 2},
        ) as cluster,
        connect(scheduler=cluster.scheduler_address, resources={"GPU": 1}) as workers,
    ):
        assert workers.count == 2
        assert max(workers.map(together, ((i,) for i in range(9)), ahead=9)) <= 2


@pytest.fixture
def other_processes(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start a scheduler and a worker as separate processes; yield the scheduler's file and process."""
    file = tmp_path / "scheduler.json"
    scheduler, worker = (
        [sys.executable, "-m", f"distributed.cli.dask_{name}", "--scheduler-file", str(file), "--no-dashboard"]
        for name in ("scheduler", "worker")
    )
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*scheduler, "--host", "127.0.0.1", "--port", "0"], **quiet)]
    try:
        deadline = time.monotonic() + 120
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        processes.append(subprocess.Popen([*worker, "--no-nanny"], **quiet))
        yield str(file), processes[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("blow", "message"),
    [(signal.SIGSTOP, "has not answered for 3 s"), (signal.SIGKILL, "stopped, or .*cannot be reached any more")],
)
def test_a_scheduler_that_freezes_or_dies_is_an_error(
    other_processes: tuple[str, "subprocess.Popen[bytes]"], blow: signal.Signals, message: str
) -> None:
    file, scheduler = other_processes
    with connect(scheduler=file, timeout=60) as workers:
        assert isinstance(workers, DaskWorkers)
        results = workers.map(slow_first, ((i,) for i in range(4, 200)), ahead=2)
        assert next(results) == 16
        workers.timeout, workers._look = 3.0, 0.5
        scheduler.send_signal(blow)
        with pytest.raises(TedError, match=message):
            list(results)
        with pytest.raises(TedError, match=message):  # at once
            list(workers.map(slow_first, [(1,)]))


@contextmanager
def listening(greeting: bytes) -> Iterator[int]:
    """Accept connections on a port, and answer in another protocol than a scheduler's."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        connections = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connections.append(server.accept()[0])
                    connections[-1].sendall(greeting)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"", r"no Dask scheduler answers at .* within 1 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Dask"),
        (b"SSH-2.0-OpenSSH_9.0\r\n" * 20, "Dask"),
        (bytes(10_000), "another program answers"),
    ],
)
def test_a_port_that_speaks_something_else_is_an_error(greeting: bytes, message: str) -> None:
    with (
        listening(greeting) as port,
        pytest.raises(ConfigError, match=message),
        connect(scheduler=f"tcp://127.0.0.1:{port}", timeout=1),
    ):
        pass


def test_a_worker_is_not_a_scheduler(local: Workers) -> None:
    assert isinstance(local, DaskWorkers)
    with (
        pytest.raises(ConfigError, match="and a Worker answers"),
        connect(scheduler=local.able()[0], timeout=10),
    ):
        pass


@pytest.mark.parametrize("place", ["tcp://127.0.0.1:9", "127.0.0.1:9", "tcp://no.such.host.invalid:8786", "odd://x:1"])
def test_a_scheduler_that_does_not_answer_is_an_error(place: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"no Dask scheduler answers at .* within 0.5 s"),
        connect(scheduler=place, timeout=0.5),
    ):
        pass


def test_a_scheduler_is_found_by_its_file(local: Workers, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    with pytest.raises(ConfigError, match=r"neither the address of a scheduler .* nor an existing file"):
        connect(scheduler=str(file))
    for content in ("{}", "[" * 100_000, '{"address": ' * 50_000, '{"address": {"host": "x"}}', "\x00"):
        file.write_text(content)
        with pytest.raises(ConfigError, match="not the file of a Dask scheduler"):
            connect(scheduler=str(file))
    file.write_text(f'{{"address": "{address(local)}"}}')
    with connect(scheduler=str(file)) as workers:
        assert list(workers.map(slow_first, [(4,)])) == [16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"workers": 2, "scheduler": "tcp://127.0.0.1:9"},
            "either on worker processes of this machine or",
        ),
        ({"workers": 0}, "at least 1, not 0"),
        ({"workers": 1, "threads": 0}, "at least 1, not 0"),
        ({"workers": 1, "timeout": 0}, "must be positive"),
        ({"workers": 1, "resources": {"GPU": 1}}, "no scheduler is named"),
        ({"scheduler": "host:1", "resources": {"GPU": 0}}, "must be positive, not GPU=0"),
        ({"threads": 2}, "and no workers"),
    ],
)
def test_options_that_make_no_sense_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connect(**options)


def test_other_versions_are_an_error_or_a_warning(
    local: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(local, DaskWorkers)
    found = local.client.get_versions(packages=["numpy", "torch", "zarr", "ted-tracking"])
    monkeypatch.setattr(local.client, "get_versions", lambda packages: found)
    check_versions(local.client, local.able(), 30)
    assert not caplog.records
    packages = found["workers"][local.able()[1]]["packages"]
    packages["torch"] = "1.0"
    check_versions(local.client, local.able(), 30)
    assert f"{local.able()[1]} has torch 1.0" in caplog.text
    packages["distributed"] = "2020.1.0"
    with pytest.raises(ConfigError, match=r"has distributed 2020\.1\.0, this process .*same environment"):
        check_versions(local.client, local.able(), 30)


def test_a_worker_without_this_package_is_an_error(small_cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'ted':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    command = [sys.executable, "-m", "distributed.cli.dask_worker", small_cluster.scheduler_address, "--no-nanny"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    other = subprocess.Popen([*command, "--no-dashboard"], env=environment, stderr=subprocess.DEVNULL)
    try:
        small_cluster.wait_for_workers(2, timeout=120)
        with (
            pytest.raises(ConfigError, match=r"cannot be imported at tcp://.*No module named 'ted'.*same environment"),
            connect(scheduler=small_cluster.scheduler_address),
        ):
            pass
    finally:
        other.terminate()
        other.wait()


def test_workers_that_do_not_see_the_cache_are_an_error(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.ones((5, 3, 4, 6), np.float16)
    unit = write_unit(open_cache(tmp_path / "cache", create=True), make_spec(), values)
    other = write_unit(open_cache(tmp_path / "other", create=True), make_spec(), values * 2)
    check_access(workers, [unit, other])
    if isinstance(workers, InProcess):
        return
    # The workers are in another folder than this process is now: the path means something here only.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unit, "folder", unit.folder.relative_to(tmp_path))
    with pytest.raises(ConfigError, match=r"on host .* cannot read cache/.*mount at the same path"):
        check_access(workers, [unit])
    monkeypatch.setattr(unit, "folder", other.folder)
    with pytest.raises(ConfigError, match=r"on host .* finds other content in"):
        check_access(workers, [unit])


def test_a_program_with_workers_is_quiet(tmp_path: Path) -> None:
    """A script prints only its own output though a task fails and others are cancelled; its environment is restored."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from ted.propagate.cluster import connect\n"
        "names = ('OMP_NUM_THREADS', 'ZARR_ASYNC__CONCURRENCY', 'MKL_NUM_THREADS')\n"
        "if __name__ == '__main__':\n"
        "    before = [os.environ.get(name) for name in names]\n"
        "    with connect(workers=1) as workers:\n"
        "        try:\n"
        "            list(workers.map(time.sleep, [(0,), (-1,), (0.5,), (0.5,), (0.5,)]))\n"
        "        except ValueError as error:\n"
        "            print(error)\n"
        "    print([os.environ.get(name) for name in names] == before)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "sleep length must be non-negative\nTrue\n", "")
