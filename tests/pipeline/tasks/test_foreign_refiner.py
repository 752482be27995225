"""A refiner of another package by the command: it improves masks, and its identity is part of the result's record."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.pipeline.datasets.masks_io import read_mask

from ..cli.test_own_places import COUNT, EXACT, bring
from ..conftest import Cli
from ..inputs import frames_folder
from ..point_inputs import SIZE, moving_square
from .packages import offer

SOURCE = '''
import numpy as np

class Bright:
    """Keeps of an object what is brighter than 100 in the frame, and remembers what it was asked."""

    identity = {"name": "bright", "version": 2}
    asked = []

    def refine(self, frame, pixels, value, label):
        if frame == 3:  # no pixels are read for this one
            self.asked.append((frame, None, tuple(label.shape)))
            return np.zeros_like(value)
        picture = pixels()
        self.asked.append((frame, picture.shape, tuple(label.shape)))
        return np.where(picture.max(2) > 100, value, 0).astype(value.dtype)
'''


@pytest.fixture
def clip(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    offer(tmp_path / "site", "foreign_refiner", SOURCE, "ted.refiners", "bright", "Bright", monkeypatch)
    folder = frames_folder(tmp_path / "clip", moving_square(COUNT)[0])
    bring(cli, folder, tmp_path, "clip")
    mask = np.zeros(SIZE, np.uint8)
    mask[4:44, 4:44] = 1  # larger than the square, which is bright: 8 to 39
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return folder


def test_results_are_refined_but_annotations_are_not(cli: Cli, clip: Path, tmp_path: Path) -> None:
    run = ("propagate", clip, "--mask", tmp_path / "mask.png", "--cache", tmp_path / "cache", *EXACT)
    plain = cli(*run, "--out", tmp_path / "plain")
    refined = cli(*run, "--out", tmp_path / "refined", "--refine", "bright")
    assert (plain.code, refined.code) == (0, 0), plain.err + refined.err
    records = [json.loads((tmp_path / name / "clip" / "ted.json").read_text()) for name in ("plain", "refined")]
    assert records[1].pop("refiner") == {"name": "bright", "version": 2}
    for record in records:
        record.pop("files", None)
    assert records[0] == records[1]
    frames = moving_square(COUNT)[0]
    for frame in range(COUNT):
        before, after = (read_mask(tmp_path / name / "clip" / f"{frame}.png") for name in ("plain", "refined"))
        expected = np.where(frames[frame].max(2) > 100, before, 0) if frame else before
        np.testing.assert_array_equal(after, np.zeros_like(after) if frame == 3 else expected)
    from foreign_refiner import Bright  # type: ignore[import-not-found]

    assert Bright.asked == [
        (frame, None if frame == 3 else (*SIZE, 3), (2, SIZE[0] // 4, SIZE[1] // 4)) for frame in range(1, COUNT)
    ]
    config = (tmp_path / "refined" / "propagate.toml").read_text()
    assert 'refine = "bright"' in config
    # A refined result is another result.
    again = cli(*run, "--out", tmp_path / "refined")
    assert (again.code, "result of other settings" in again.err) == (2, True)


def test_an_unknown_refiner(cli: Cli, clip: Path, tmp_path: Path) -> None:
    run = ("propagate", clip, "--mask", tmp_path / "mask.png", "--cache", tmp_path / "cache", "--out", tmp_path / "out")
    refused = cli(*run, *EXACT, "--refine", "sma")
    assert (refused.code, "unknown refiner 'sma'; there are: sam, bright" in refused.err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_the_example_of_the_guide(cli: Cli, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs/guide/adding-a-task.md").read_text()
    source = page.partition("```python\n")[2].partition("```")[0]
    offer(tmp_path / "guide", "refiner_of_the_guide", source, "ted.refiners", "example", "Bright", monkeypatch)
    run = ("propagate", clip, "--mask", tmp_path / "mask.png", "--cache", tmp_path / "cache", "--out", tmp_path / "out")
    assert cli(*run, *EXACT, "--refine", "example").code == 0
    frame = moving_square(COUNT)[0][4]
    mask = read_mask(tmp_path / "out/clip/4.png")
    assert mask.any()
    assert not mask[frame.max(2) <= 100].any()
    assert json.loads((tmp_path / "out/clip/ted.json").read_text())["refiner"] == {"name": "bright", "version": 1}
