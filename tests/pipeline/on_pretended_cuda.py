"""What a pretended CUDA device notices, and what it shows of the commands; `tests/pretended_cuda` runs this."""

import csv
import gc
import json
from pathlib import Path

import pytest
import torch

from ted.extract.small_models import make_small
from ted.propagate.kernels.cosine.index import CosineIndex
from ted.propagate.kernels.cosine.pairs import unit_vectors
from tests.pretended_cuda.device import device as pretended
from tests.propagate.features import random_parts
from tests.propagate.kernels.cosine.test_rows import GRID, ONE

from .conftest import Cli

GPU = torch.device("cuda", 0)


def test_tensors_of_different_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="same device, but found cpu and cuda:0"):
        torch.ones(2, device=GPU) + torch.ones(2)
    with pytest.raises(RuntimeError, match="numpy"):
        torch.ones(2, device=GPU).numpy()


def test_an_asynchronous_copy_has_no_values_before_the_host_waits() -> None:
    values = torch.arange(3.0, device=GPU)
    copied = values.to("cpu", non_blocking=True)
    assert copied.isnan().all()
    torch.cuda.Event().synchronize()
    assert copied.tolist() == [0, 1, 2]


def test_a_source_that_changes_while_it_is_copied_is_noticed() -> None:
    source = torch.zeros(3)
    source.to(GPU, non_blocking=True)
    source += 1
    with pytest.raises(AssertionError, match="changed while it was being copied"):
        torch.cuda.synchronize()


def test_waits_and_memory_are_counted() -> None:
    before = pretended.held
    with pretended.counted() as found:
        values = torch.zeros(1000, device=GPU)
        assert values.sum().item() == 0
        assert len(values.nonzero()) == 0
        torch.tensor([1, 2], device=GPU)
    assert found.waits == {"_local_scalar_dense": 1, "nonzero": 1, "copy to the device": 1}
    assert 4000 <= found.peak - before < 8000


def test_the_host_waits_few_times_to_search_a_frame() -> None:
    """For the error of half precision, the number of sources, which are in use, and those to be searched again."""
    frames = 12
    index = CosineIndex(ONE, frames)
    parts = random_parts(GRID, frames, (64, 40), seed=3, smooth=True)
    units = [[unit_vectors(part[frame].to(GPU)) for part in parts] for frame in range(frames)]
    for frame in range(frames - 1):
        index.add(frame, units[frame])
    index.search(units[-1], range(frames - 1), 1)  # what is computed once
    with pretended.counted() as found:
        index.search(units[-1], range(frames - 1), 1)
    assert "copy to the device" not in found.waits
    again = 5 * found.waits["bincount"]  # queries that are searched again
    assert sum(found.waits.values()) - again <= 5


def test_commands_give_the_results_of_the_cpu(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    names = "rgb:0:stride4", "position:0:stride8"

    def weighted(weights: str) -> tuple[str, ...]:
        return ("--feature", f"{names[0]}={weights}", "--feature", f"{names[1]}=0.4")

    results: dict[str, list[bytes]] = {}
    tables = {}
    for device in ("cpu", "cuda"):
        root = tmp_path / device
        common = ("--cache", root / "cache", "--device", device)
        assert (
            cli("extract", davis_source, *common, "--frame-size", 64, *(f"--feature={name}" for name in names)).code
            == 0
        )
        with pretended.counted() as found:
            done = cli(
                "propagate", davis_source, *common, *weighted("0.6"), "--out", root / "out", "--affinities", "off"
            )
        assert done.code == 0, done.err
        assert (found.operations > 1000) == (device == "cuda")
        results[device] = [file.read_bytes() for file in sorted((root / "out").rglob("*.png"))]
        lists = ("--temperature", "0.1,0.2", "--radius", 3, "--context", "2,28")
        swept = cli("sweep", davis_source, *common, *weighted("0,0.5,1"), *lists, "--out", root / "sweep", "--no-plots")
        assert swept.code == 0, swept.err
        with (root / "sweep" / "settings.csv").open() as file:
            tables[device] = [*csv.DictReader(file)]
    assert results["cuda"] == results["cpu"] != []
    assert tables["cuda"] == tables["cpu"]


@pytest.mark.slow
def test_a_dry_run_predicts_the_memory(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    weights = make_small("sd21", tmp_path / "sd21", standins=True)
    command = ("extract", davis_source, "--cache", tmp_path / "cache", "--feature", "sd21:261:up_blocks[1]")
    options = ("--frame-size", "64x96", "--weights", f"sd21={weights}", "--batch-size", "auto", "--device", "cuda")
    predicted = json.loads(cli(*command, *options, "--dry-run", "--json").out)["memory"]
    gc.collect()
    with pretended.counted() as found:
        before = pretended.held
        assert cli(*command, *options).code == 0
    assert found.peak - before == pytest.approx(predicted, rel=0.05)
