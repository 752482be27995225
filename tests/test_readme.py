"""The README's first commands, and the Python of README and guide, run as they are written, on a small video."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.cli import ted
from tests.console import console_lines

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FRAMES, HEIGHT, WIDTH = 5, 160, 240


def _square(frame: int) -> NDArray[np.uint8]:
    """Return the mask of the object in a frame: in the README's box first, then moving by 4 pixels a frame."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[64:124, 120 + 4 * frame : 200 + 4 * frame] = 1
    return mask


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the video and the mask that the README names."""
    writer = cv2.VideoWriter(str(tmp_path / "walk.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 8, (WIDTH, HEIGHT))
    for frame in range(FRAMES):
        pixels = np.full((HEIGHT, WIDTH, 3), (40, 120, 40), np.uint8)
        pixels[_square(frame) == 1] = (30, 40, 220)
        writer.write(pixels)
    writer.release()
    Image.fromarray(_square(0)).save(tmp_path / "walk-first-frame.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(line: str) -> None:
    result = CliRunner().invoke(ted, line.removeprefix("ted ").split())
    assert result.exit_code == 0, f"{line}\n{result.output}"


def _overlap(mask: Any, frame: int) -> float:
    truth, found = _square(frame) == 1, np.asarray(mask) == 1
    return float((truth & found).sum() / (truth | found).sum())


def test_the_first_commands_and_the_python_track_the_object(folder: Path) -> None:
    for line in list(console_lines(README.partition("## Your own video")[2]))[:3]:
        _run(line)
    (last,) = sorted((folder / "results" / "walk").glob(f"*{FRAMES - 1}.png"))
    assert _overlap(Image.open(last), FRAMES - 1) > 0.8
    assert (folder / "results" / "overlays" / "walk.mp4").stat().st_size > 0

    names = _exec(README)
    assert _overlap(names["masks"][-1], FRAMES - 1) > 0.8
    assert len(list((folder / "results-3" / "walk").glob("*.png"))) == FRAMES


def test_the_python_of_the_guide_tracks_the_object(folder: Path) -> None:
    names = _exec((ROOT / "docs" / "guide" / "python.md").read_text())
    assert _overlap(names["masks"][-1], FRAMES - 1) > 0.8
    assert _overlap(names["mask"], FRAMES - 1) > 0.8
    assert names["label"].shape == (2, *names["first_frame"].shape[:2])
    assert len(list((folder / "results-python" / "walk").glob("*.png"))) == FRAMES


def _exec(page: str) -> dict[str, Any]:
    """Run a page's Python blocks one after the other; return their variables."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(compile(block, "<page>", "exec"), names)
    return names
