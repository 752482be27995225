"""The demo, with as little as shows that its parts fit together."""

import dataclasses
from pathlib import Path
from statistics import fmean

import cv2
import pytest
from PIL import Image

from ted.pipeline.demo import run as demo
from ted.pipeline.demo.features import METHODS


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
    # Distinct objects are easy for what knows colours.
    assert result.scores["distinct", "image"].j > 0.6
    # The sweep, which writes no masks, scores what the masks have scored.
    assert result.swept.settings == 3
    table = (tmp_path / "sweep" / "settings.csv").read_text().splitlines()
    alpha, j = (table[0].split(",").index(name) for name in ("alpha", "j"))
    swept = {float(row.split(",")[alpha]): float(row.split(",")[j]) for row in table[1:]}
    for value, method in ((0.0, "image"), (0.25, "fused"), (1.0, "video")):
        expected = fmean(result.scores[kind, method].j for kind in ("identical", "distinct"))
        assert swept[value] == pytest.approx(expected, abs=1e-6)
    assert result.swept.best.measures["j"] == pytest.approx(max(swept.values()))
    assert [path.name for path in result.pictures] == [
        "demo-identical.png", "demo-identical.mp4", "demo-distinct.png", "demo-distinct.mp4",
    ]  # fmt: skip
    for path in result.pictures:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.size[0] > 1000
        else:
            assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 16
