"""The benchmark of GPUs runs, at a tiny size on the CPU, and says so where there is no GPU."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("gpu")


def test_every_part_but_extraction_writes_its_table(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.txt"
    options = ["--small", "--device", "cpu", "--out", str(table)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", "propagation", "video", "sweep", *options])
    assert gpu.main() == 0
    text = table.read_text()
    assert "failed" not in text
    ours = [line.split() for line in text.splitlines() if "ours" in line]
    assert [line[-1] for line in ours] == ["100.00%"] * 2  # the dense script's labels
    assert "12 settings, 6 frames" in text


def test_without_a_gpu_one_line_says_so(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 2
    assert capsys.readouterr().err == "gpu.py: this machine has no CUDA device that PyTorch can use\n"
