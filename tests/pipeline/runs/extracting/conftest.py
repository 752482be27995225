"""A list of two videos with several units each, and what an undisturbed run makes of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ted.pipeline.synthetic.rendering import render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.writing import write_davis
from ted.store import open_cache, verify_unit

from .processes import end_all, hurry, start

FEATURES = ("adm:51,200:output_blocks[7],mid_block", "i2vgen-xl:300,600:up_blocks[2],up_blocks[1]")


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of all files but run records, and the names of all folders."""
    paths = [path for path in folder.rglob("*") if path.name != "run.json"]
    return {str(path.relative_to(folder)): b"" if path.is_dir() else path.read_bytes() for path in paths}


def count_whole(cache: Path) -> int:
    """Verify all units that are said to be complete; return how many there are."""
    complete = [entry for entry in open_cache(cache).entries() if entry.state == "complete"]
    assert [verify_unit(entry.folder).state for entry in complete] == ["ok"] * len(complete)
    assert len(complete) == len(list(cache.rglob("complete.json")))
    return len(complete)


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAVIS root of two short videos, 64x96."""
    root = tmp_path_factory.mktemp("walks")
    for seed, (name, frames) in enumerate((("one", 11), ("two", 7))):
        clip = render(SceneSpec(frames=frames, size=(64, 96), radius=(10, 10), motion="bouncing", seed=seed))
        write_davis(root, name, clip.frames, clip.masks)
    return root


@pytest.fixture(scope="session")
def command(walks: Path, weights: tuple[str, ...]) -> tuple[str, ...]:
    """What extracts eight units of each video, without ``--cache``."""
    features = [f"--feature={text}" for text in FEATURES]
    return ("extract", str(walks), *weights, *features, "--frame-size=32", "--batch-size=2", "--json")


@pytest.fixture(scope="session")
def undisturbed(command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    running = start(folder / "log", *command, "--cache", folder / "cache", hooks=(hurry,))
    assert running.wait() == 0
    assert len(running.summary["written"]) == 16
    return folder / "cache"


@pytest.fixture(scope="session")
def expected(undisturbed: Path) -> Mapping[str, bytes]:
    """Its files."""
    return tree(undisturbed)
