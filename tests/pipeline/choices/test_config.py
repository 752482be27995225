"""Options from configuration files and variables."""

import json
from pathlib import Path

import pytest

from ted.pipeline.cli import load_command
from ted.pipeline.cli.run import run

from ..conftest import Cli


@pytest.mark.parametrize(
    "line",
    [
        "alpha = [1, 2]",
        "alpha = 1979-05-27",
        "alpha = true",
        "cache = [1]",
        "out = []",
        "limit = 2.5",
        "overlay = 'maybe'",
        "videos = [['one']]",
    ],
)
def test_values_of_a_wrong_kind(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, line: str) -> None:
    config = tmp_path / "ted.toml"
    config.write_text(f"{line}\n")
    cache = () if line.startswith("cache") else ("--cache", extracted)
    out = () if line.startswith("out") else ("--out", tmp_path / "out")
    result = cli("propagate", davis_source, "--config", config, *cache, *out)
    assert result.code == 2
    assert "the source has" not in result.err
    assert not (tmp_path / "out").exists()


def test_a_text_serves_for_a_list_and_evaluate_reads_files(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path
) -> None:
    config = tmp_path / "ted.toml"
    config.write_text(
        f'videos = "one"\ncache = "{extracted}"\n'
        f'[propagate]\nfeature = "adm:51:output_blocks[7]=1"\nradius = 2\nout = "{tmp_path / "out"}"\n'
        f'[evaluate]\nresults = "{tmp_path / "out"}"\njson = true\n'
    )
    assert cli("propagate", davis_source, "--config", config).code == 0
    assert len(json.loads((tmp_path / "out/one/ted.json").read_text())["features"]) == 1
    scored = cli("evaluate", davis_source, "--config", config)
    assert [item["name"] for item in json.loads(scored.out)["sequences"]] == ["one"]


def test_both_names_of_a_command_heed_the_same_variables(
    davis_source: Path, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TED_PROPAGATE_TOP_K", "3")
    arguments = [davis_source, "--videos", "one", "--cache", extracted, "--radius", 2, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as stopped:
        run(load_command("propagate"), "ted-propagate", [str(item) for item in arguments])
    assert not stopped.value.code
    assert json.loads((tmp_path / "out/one/ted.json").read_text())["settings"]["top_k"] == 3
