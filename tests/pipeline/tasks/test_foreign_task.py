"""A task of another package by the commands: one entry point, and no line in the project."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.reports.page import make_page, render_page
from ted.pipeline.tasks.registry import known_tasks

from ..cli.test_own_places import COUNT, EXACT, bring
from ..conftest import Cli
from ..inputs import frames_folder
from ..point_inputs import moving_square
from ..report_inputs import check_page
from ..sheets import read
from .packages import offer

SOURCE = Path(__file__).with_name("ellipses_package.py").read_text()


def ellipse(frame: int) -> list[float]:
    """An ellipse on the square of `moving_square`, which moves by 4 pixels a frame."""
    return [4.0 * (2 + frame) + 16, 4.0 * (2 + frame) + 14, 11.0, 7.0]


@pytest.fixture
def clip(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of frames, its features in a cache beside it, and true ellipses of all frames."""
    offer(tmp_path / "site", "foreign_ellipses", SOURCE, "ted.tasks", "ellipses", "EllipseTask", monkeypatch)
    folder = frames_folder(tmp_path / "clip", moving_square(COUNT)[0])
    bring(cli, folder, tmp_path, "clip")
    (tmp_path / "true.json").write_text(json.dumps({str(frame): ellipse(frame) for frame in range(COUNT)}))
    return folder


def test_all_commands_know_it(cli: Cli, clip: Path, tmp_path: Path) -> None:
    source = (clip, "--annotations", tmp_path / "true.json")
    run = (*source, "--cache", tmp_path / "cache", "--out", tmp_path / "out", *EXACT)
    made = cli("propagate", *run, "--overlay")
    assert made.code == 0, made.err
    folder = tmp_path / "out" / "clip"
    found = json.loads((folder / "ellipses.json").read_text())
    record = json.loads((folder / "ted.json").read_text())
    assert record["ellipse"] == ellipse(0)
    assert list(found) == [str(frame) for frame in range(COUNT)]
    assert found["0"] == ellipse(0)
    # Exact features: the label moves by a cell a frame, and the grid blurs it alike in all of them.
    np.testing.assert_allclose(found["5"][:2], ellipse(5)[:2], atol=0.3)
    np.testing.assert_allclose(found["5"][2:], ellipse(5)[2:], atol=1.0)
    assert (tmp_path / "out" / "overlays" / "clip.mp4").is_file()
    assert "there before" in cli("propagate", *run).err

    scored = cli("evaluate", *source, "--results", tmp_path / "out", "--json")
    assert scored.code == 0, scored.err
    values = json.loads(scored.out)
    assert values["mean"]["Overlap"] > 0.8
    assert values["mean"]["off by"] < 0.3
    with (tmp_path / "out" / "ellipses_results-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Video"] for row in rows] == ["clip", "mean"]
    assert float(rows[0]["Overlap"]) == pytest.approx(values["mean"]["Overlap"], abs=1e-4)

    sweep = ("--image-feature", "made:0:features", "--alpha", 0, "--temperature", "0.01,1", "--top-k", 1)
    swept = cli(
        "sweep", *source, "--cache", tmp_path / "cache", "--out", tmp_path / "sweep", *sweep, "--radius", 8,
        "--context", 2, "--no-plots",
    )  # fmt: skip
    assert swept.code == 0, swept.err
    assert "best by overlap" in swept.out
    with (tmp_path / "sweep" / "settings.csv").open() as file:
        settings = list(csv.DictReader(file))
    assert float(settings[0]["overlap"]) == values["mean"]["Overlap"]

    shown = cli("show", "ellipses", *source, "--results", tmp_path / "out", "--frames", "0,4", "--out", tmp_path / "p")
    assert shown.code == 0, shown.err
    sheet = read(tmp_path / "p" / "clip-ellipses.png")
    assert (sheet == (255, 0, 255)).all(2).sum() > 200
    assert "ellipses" in cli("show", "--help").out

    from ted.pipeline.datasets.sources import Source, open_sources

    (video,) = open_sources([Source(path=clip, annotations=tmp_path / "true.json", tasks=("ellipses",))])
    page = make_page([tmp_path / "out", tmp_path / "sweep"], title="t", videos=[video], pictures=1)
    text = check_page(render_page(page)).text
    assert "overlap" in text.lower()
    assert page.frames[0].pictures[0].caption == "truth"
    assert cli("report", tmp_path / "out", "--out", tmp_path / "report.html").code == 0


def test_what_it_cannot_do_is_told(cli: Cli, clip: Path, tmp_path: Path) -> None:
    run = ("--cache", tmp_path / "cache", "--out", tmp_path / "out", *EXACT)
    source = (clip, "--annotations", tmp_path / "true.json")
    soft = cli("propagate", *source, *run, "--save-soft")
    assert (soft.code, "--save-soft is for masks" in soft.err) == (2, True)
    boxes = cli("propagate", *source, *run, "--target", "boxes")
    assert (boxes.code, "has annotations for ellipses, not for boxes" in boxes.err) == (2, True)
    unknown = cli("propagate", *source, *run, "--target", "circles")
    assert (
        unknown.code,
        "unknown target 'circles'; there are: masks, parts, joints, points, boxes, ellipses" in unknown.err,
    ) == (2, True)


@pytest.mark.parametrize(
    ("name", "attribute", "message"),
    [
        ("circles", "EllipseTask", "is offered as task 'circles', but is no Task of that name"),
        ("ellipses", "EllipseScore", "is offered as task 'ellipses', but is no Task of that name"),
        ("ellipses", "Absent", "task 'ellipses' of foreign_other:Absent cannot be loaded"),
    ],
)
def test_a_wrong_offer_stops_no_other_task(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    attribute: str,
    message: str,
) -> None:
    offer(tmp_path, "foreign_other", SOURCE, "ted.tasks", name, attribute, monkeypatch)
    assert list(known_tasks()) == ["masks", "parts", "joints", "points", "boxes"]
    assert message in caplog.text


def test_no_offer_replaces_a_built_in_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = SOURCE.replace('name = "ellipses"', 'name = "masks"')
    offer(tmp_path, "foreign_masks", source, "ted.tasks", "masks", "EllipseTask", monkeypatch)
    assert known_tasks()["masks"].__module__.startswith("ted.")
    assert "is offered as task 'masks', a name that is taken" in caplog.text


def test_help_loads_no_task() -> None:
    """``ted show --help`` must stay fast: tasks bring torch."""
    code = "import sys; from ted.pipeline.cli.show import show; show.list_commands(None); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
