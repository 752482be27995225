import pytest

from ted.pipeline.runs.extracting.devices import parse_devices
from ted.pipeline.runs.extracting.shards import parse_shard, take_shard
from ted.store.errors import ConfigError


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_item_is_in_exactly_one_share(count: int) -> None:
    items = [f"video {i}" for i in range(11)]
    shares = [take_shard(items, parse_shard(f"{i}/{count}", {})) for i in range(1, count + 1)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "a/b", "1", "-1/3", "1/2/3", ""])
def test_shares_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="1/N to N/N"):
        parse_shard(text, {})


def slurm(tasks: list[int], task: int) -> dict[str, str]:
    return {
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_MIN": str(min(tasks)),
        "SLURM_ARRAY_TASK_MAX": str(max(tasks)),
        "SLURM_ARRAY_TASK_COUNT": str(len(tasks)),
        "SLURM_ARRAY_TASK_STEP": str(tasks[1] - tasks[0] if len(tasks) > 1 else 4),
    }


@pytest.mark.parametrize("tasks", [[0, 1, 2], [1, 2, 3, 4], [5], [3, 7, 11], [0, 4, 8, 12]])
def test_a_job_array_covers_the_list_wherever_it_begins(tasks: list[int]) -> None:
    shares = [parse_shard("slurm", slurm(tasks, task)) for task in tasks]
    assert shares == [(number, len(tasks)) for number in range(len(tasks))]


def test_uneven_arrays_and_no_array_are_refused() -> None:
    for task in (1, 2, 9):
        with pytest.raises(ConfigError, match="not evenly spaced"):
            parse_shard("slurm", slurm([1, 2, 9], task))
    with pytest.raises(ConfigError, match="SLURM_ARRAY_TASK_ID is not set"):
        parse_shard("slurm", {})
    with pytest.raises(ConfigError, match="not numbers"):
        parse_shard("slurm", slurm([1], 1) | {"SLURM_ARRAY_TASK_ID": "x"})


def test_devices() -> None:
    assert parse_devices("0, 2") == ["cuda:0", "cuda:2"]
    assert parse_devices("cpu,cpu") == ["cpu", "cpu"]
    for text, what in (("", "names no device"), (",", "names no device"), ("0,cuda:0", "twice")):
        with pytest.raises(ConfigError, match=what):
            parse_devices(text)
