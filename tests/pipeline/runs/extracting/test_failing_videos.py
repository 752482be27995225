"""A video that fails stops no other: it is named at the end, with its reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ted.pipeline.runs.extracting import running

from ...conftest import Cli
from ...inputs import extract, frames_folder, random_video
from .conftest import count_whole
from .processes import fork_devices, hurry, start


class _Dark:
    """A backbone that makes NaN of black frames."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = self._backbone.encode(pixels)
        return latents * torch.nan if bool((pixels == -1).all()) else latents


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Folders of frames: two good ones, and some that fail for a reason each."""
    made = {name: frames_folder(tmp_path / name, random_video(9)) for name in ("good", "torn", "damaged", "fine")}
    whole = (made["torn"] / "5.png").read_bytes()
    (made["torn"] / "5.png").write_bytes(whole[: len(whole) // 2])
    start_of_data = whole.index(b"IDAT") + 4
    (made["damaged"] / "5.png").write_bytes(whole[:start_of_data] + bytes(16) + whole[start_of_data + 16 :])
    sizes = frames_folder(tmp_path / "sizes", random_video(9))
    shutil.copy(frames_folder(tmp_path / "larger", random_video(9, (80, 90))) / "5.png", sizes / "5.png")
    dark = random_video(9)
    dark[5] = 0
    return made | {"sizes": sizes, "dark": frames_folder(tmp_path / "dark", dark)}


@pytest.fixture
def _nan_of_black(monkeypatch: pytest.MonkeyPatch) -> None:
    load = running.load_backbone
    monkeypatch.setattr(running, "load_backbone", lambda *args, **options: _Dark(load(*args, **options)))


REASONS = {
    "torn": "5.png is truncated",
    "damaged": "cannot decode frame",
    "sizes": "5.png is 90x80 pixels (width x height), but 0.png is 90x70",
    "dark": "frame 5 of folder/dark adm@",
}
ONE = ("--feature", "adm:51:output_blocks[7]", "--batch-size", 2)


@pytest.mark.usefixtures("_nan_of_black")
def test_failing_videos_are_isolated_and_named_at_the_end(
    cli: Cli, weights: tuple[str, ...], folders: dict[str, Path], tmp_path: Path
) -> None:
    order = [folders[name] for name in ("torn", "good", "damaged", "sizes", "dark", "fine")]
    cache = tmp_path / "cache"
    result = extract(cli, weights, cache, *order, *ONE)
    assert result.code == 1
    assert "2 units written, 0 complete already, 4 videos failed" in result.out
    last = [line for line in result.err.splitlines() if line][-4:]
    assert {line.split()[1] for line in last} == set(REASONS)
    for line in last:
        assert line.startswith("failed: ")
        assert REASONS[line.split()[1]] in line
    assert {path.parents[6].name for path in cache.rglob("complete.json")} == {"good.zarr", "fine.zarr"}
    assert count_whole(cache) == 2
    assert not list(cache.rglob("claim.json"))

    result = extract(cli, weights, cache, *order, *ONE, "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert summary["written"] == []
    assert len(summary["skipped"]) == 2
    assert {item["video"] for item in summary["failed"]} == set(REASONS)
    assert all(REASONS[item["video"]] in item["reason"] and item["backbone"] == "adm" for item in summary["failed"])

    # Mended, they are extracted as well; of the frames before the damage nothing is computed again.
    for name in ("torn", "damaged", "sizes"):
        shutil.copy(folders["good"] / "5.png", folders[name] / "5.png")
    result = extract(cli, weights, cache, *order, *ONE, "--json")
    assert result.code == 1
    assert [item["video"] for item in json.loads(result.out)["failed"]] == ["dark"]
    assert count_whole(cache) == 5


@pytest.mark.usefixtures("_nan_of_black")
@pytest.mark.parametrize("bad", REASONS)
def test_fail_fast_stops_at_the_first(
    cli: Cli, weights: tuple[str, ...], folders: dict[str, Path], tmp_path: Path, bad: str
) -> None:
    order = [folders[name] for name in ("good", bad, "fine")]
    cache = tmp_path / "cache"
    result = extract(cli, weights, cache, *order, *ONE, "--fail-fast", "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert [item["video"] for item in summary["failed"]] == [bad]
    assert [label.split()[0] for label in summary["written"]] == ["folder/good"]
    assert [path.parents[6].name for path in cache.rglob("complete.json")] == ["good.zarr"]
    assert not list(cache.rglob("claim.json"))


def test_a_failing_video_is_named_once_by_two_processes(
    tmp_path: Path, weights: tuple[str, ...], folders: dict[str, Path]
) -> None:
    order = [folders[name] for name in ("good", "torn", "fine")]
    arguments = ("extract", *order, "--cache", tmp_path / "cache", "--frame-size", 32, *weights, *ONE, "--json")
    run = start(tmp_path, *arguments, "--devices=cpu,cpu", hooks=(hurry, fork_devices))
    assert run.wait() == 1
    (failed,) = run.summary["failed"]
    assert failed["video"] == "torn"
    assert REASONS["torn"] in failed["reason"]
    assert len(run.summary["written"]) == 2
    stopped = start(tmp_path, *arguments, "--devices=cpu,cpu", "--fail-fast", hooks=(hurry, fork_devices))
    assert stopped.wait() == 1
    assert [item["video"] for item in stopped.summary["failed"]] == ["torn"]
