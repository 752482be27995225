"""Running commands, and small data and weights to run them on."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ted.extract.small_models import make_small
from ted.pipeline.cli import ted
from ted.pipeline.cli.run import run
from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import write_davis
from tests.console import next_commands, parse_command


class Result(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def no_affinities_unasked() -> Iterator[None]:
    """Cache no affinities unasked: tests share caches. Tests of users' default delete the variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TED_PROPAGATE_AFFINITIES", "read")
        yield


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``ted`` with arguments, as the program does."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            run(ted, "ted", [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        if "\\x" not in captured.out:  # names that are not printable are escaped
            for line in next_commands(captured.out + captured.err):
                parse_command(line)
        return Result(int(str(stopped.value.code or 0)), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options that name small random weights."""
    folder = tmp_path_factory.mktemp("weights")
    names = ("adm", "i2vgen-xl")
    return tuple(f"--weights={name}={make_small(name, folder / name, standins=name != 'adm')}" for name in names)


@pytest.fixture(scope="session")
def davis_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAVIS root of two short videos of two objects, 96x128."""
    root = tmp_path_factory.mktemp("davis")
    for seed, name in enumerate(("one", "two")):
        clip = render(SceneSpec(frames=4 + seed, size=(96, 128), radius=(14, 14), motion="bouncing", seed=seed))
        write_davis(root, name, clip.frames, clip.masks)
    return root


@pytest.fixture(scope="session")
def extracted(davis_source: Path, weights: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the features of `davis_source` at short side 64."""
    cache = tmp_path_factory.mktemp("extracted") / "cache"
    with pytest.raises(SystemExit) as stopped:
        run(ted, "ted", ["extract", str(davis_source), "--cache", str(cache), "--frame-size", "64", *weights])
    assert not stopped.value.code
    return cache


@pytest.fixture
def cache(extracted: Path, tmp_path: Path) -> Path:
    """A copy of the cache of `davis_source`, to be changed at will."""
    return Path(shutil.copytree(extracted, tmp_path / "cache"))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a Dask cluster of two workers in this process, which has imported all that they need."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield str(cluster.scheduler_address)
