"""``ted report`` after real runs of the other commands, on small data."""

import csv
import json
from pathlib import Path

import pytest

from ..conftest import Cli
from ..report_inputs import check_page, exact, write_results

SMALL = ("--radius", 2, "--top-k", 3, "--context", 2)


def test_a_page_of_a_real_sweep_and_real_masks(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    sweep, results, out = tmp_path / "sweep", tmp_path / "results", tmp_path / "pages" / "report.html"
    made = cli("sweep", davis_source, "--cache", cache, "--out", sweep, "--alpha", "0,1", *SMALL, "--no-plots")
    assert made.code == 0, made.err
    made = cli("propagate", davis_source, "--cache", cache, "--out", results, "--alpha", 0.4, *SMALL)
    assert made.code == 0, made.err
    assert cli("evaluate", davis_source, "--results", results).code == 0
    arguments = ("report", sweep, results, "--source", davis_source, "--out", out, "--pictures", 1)
    done = cli(*arguments, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    content = out.read_bytes()
    assert summary == {"out": str(out), "bytes": len(content), "notes": []}
    page = check_page(content.decode())
    with (results / "global_results-val.csv").open(newline="") as file:
        (overall,) = csv.DictReader(file)
    with (sweep / "settings.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    columns = ("jf", "j", "j_recall", "j_decay", "f", "f_recall", "f_decay")
    assert exact(page.tables["Means over all objects"]) == [
        [ranked[0][name] or None for name in columns],
        [text or None for text in overall.values()],
    ]
    curve = page.tables["J&F over alpha"]
    by_alpha = sorted(ranked, key=lambda row: float(row["alpha"]))
    assert exact(curve) == [[row["jf"], overall["J&F-Mean"]] for row in by_alpha]
    assert [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert "sha256:" in page.text
    (facts, *_) = (rows for caption, rows in page.tables.items() if caption.startswith("results: feature "))
    known = {row[0][0]: row[1][0] for row in facts}
    assert all(float(known[name]) > 0 for name in ("videos in the cache", "megabytes", "frames per second"))
    refused = cli(*arguments)
    assert (refused.code, out.read_bytes()) == (2, content)
    assert "--overwrite" in refused.err
    again = cli(*arguments, "--overwrite")
    assert again.code == 0
    assert f"report: {out}" in again.out
    assert str(tmp_path) not in out.read_text()


def test_controls_are_known_by_the_cache_that_is_named(cli: Cli, tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", ["one"], cache=tmp_path / "gone")
    done = cli("report", folder, "--out", tmp_path / "a.html")
    assert done.code == 0
    assert "note: results: what its features were made from" in done.out
    assert f"there is no cache at {tmp_path / 'gone'}" in done.out


@pytest.mark.parametrize("name", ["report.html", "a folder/ü & <b>.html"])
def test_the_page_is_written_where_it_is_told(cli: Cli, tmp_path: Path, name: str) -> None:
    folder = write_results(tmp_path / "results", ["one"])
    assert cli("report", folder, "--out", tmp_path / name, "--title", "ü & <b>").code == 0
    assert "ü & <b>" in check_page((tmp_path / name).read_text(encoding="utf-8")).text


def test_wrong_use(cli: Cli, tmp_path: Path) -> None:
    assert cli("report").code == 2
    missing = cli("report", tmp_path / "absent")
    assert (missing.code, "there is no folder" in missing.err) == (2, True)
    folder = write_results(tmp_path / "results", ["one"])
    (tmp_path / "file").write_text("")
    refused = cli("report", folder, "--out", tmp_path / "file" / "report.html")
    assert refused.code == 1
    assert "cannot write" in refused.err
    assert cli("report", folder, "--source", tmp_path / "nowhere").code in (1, 2)
    (folder / "propagate.toml").write_text("= no")
    assert "options recorded in" in cli("report", folder, "--out", tmp_path / "r.html").err
