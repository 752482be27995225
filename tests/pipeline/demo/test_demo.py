"""The demo on few videos and settings."""

import dataclasses
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import pytest
from PIL import Image

from ted.pipeline.demo import run as demo
from ted.pipeline.demo.setup import METHODS

from ..report_inputs import check_page


def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(demo.SETTINGS, ensemble=1)
    monkeypatch.setattr(demo, "SETTINGS", small)
    monkeypatch.setattr(demo, "_ALPHAS", (0.0, 0.25, 1.0))
    monkeypatch.setattr(demo, "_TEMPERATURES", (0.1,))
    monkeypatch.setattr(demo, "_TOP_KS", (10,))
    monkeypatch.setattr(demo, "_RADII", (8,))
    lines: list[str] = []
    result = demo.run_demo(tmp_path, videos=1, progress=lambda _title, _count: lambda _done: None, say=lines.append)
    assert len(lines) == 4
    assert set(result.scores) == {(kind, method) for kind in ("identical", "distinct") for method in METHODS}
    for score in result.scores.values():
        assert 0 < score.j < 1
        assert 0.2 < score.identity <= 1
    # Image features tell distinct objects apart by colour.
    assert result.scores["distinct", "image"].j > 0.6
    # The sweep computes without files the scores of the masks.
    assert len(result.ranking) == 3
    table = (tmp_path / "sweep" / "settings.csv").read_text().splitlines()
    alpha, j = (table[0].split(",").index(name) for name in ("alpha", "j"))
    swept = {float(row.split(",")[alpha]): float(row.split(",")[j]) for row in table[1:]}
    for value, method in ((0.0, "image"), (0.25, "fused"), (1.0, "video")):
        expected = fmean(result.scores[kind, method].j for kind in ("identical", "distinct"))
        assert swept[value] == pytest.approx(expected, abs=1e-6)
    assert result.ranking[0].measures["j"] == pytest.approx(max(swept.values()))
    # What the demo prints of the sweep and of the table above it agrees.
    fused = fmean(result.scores[kind, "fused"].j for kind in ("identical", "distinct"))
    assert result.fused.measures["j"] == pytest.approx(fused, abs=1e-6)
    assert [path.name for path in result.pictures] == [
        f"demo-{kind}.{form}" for kind in ("identical", "distinct") for form in ("png", "mp4", "webp")
    ]
    for path in result.pictures:
        if path.suffix != ".mp4":
            with Image.open(path) as picture:
                assert picture.size[0] > (1000 if path.suffix == ".png" else 600)
                assert getattr(picture, "n_frames", 1) == (1 if path.suffix == ".png" else 16)
        else:
            assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 16
    page = check_page(result.report.read_text(encoding="utf-8"))
    names = [row[0][0] for row in page.tables["Means over all objects"][1:]]
    assert names == ["image", "video", "fused", "sweep", "image-position", "colours-position"]
    assert [tag for tag, _ in page.elements].count("img") > 4
    assert str(tmp_path) not in result.report.read_text(encoding="utf-8")


def test_swapped_objects_are_boxed() -> None:
    true = np.zeros((40, 60), np.uint8)
    true[5:15, 5:15], true[20:30, 30:45] = 1, 2
    found = true.copy()
    found[20:30, 30:40] = 1  # two thirds of object 2
    picture = demo.mark_swaps(np.full((40, 60, 3), 90, np.uint8), found, true)
    white = np.argwhere((picture == 255).all(-1))
    assert white.min(0).tolist() >= [18, 28]
    assert len(white) > 60
    assert not (demo.mark_swaps(np.full((40, 60, 3), 90, np.uint8), true, true) != 90).any()
