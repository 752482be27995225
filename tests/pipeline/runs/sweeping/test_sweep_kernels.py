"""Kernels and rules of the context in `ted sweep` and `ted propagate`: a foreign kernel by its entry point alone."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from ted.pipeline.choices.presets import get_preset
from ted.pipeline.reports.folders import read_sweep
from ted.pipeline.runs.sweeping.journal import read_journal
from ted.pipeline.runs.sweeping.request import make_space, parse_kernels, space_options
from ted.pipeline.runs.sweeping.space import PARAMETERS, Setting
from ted.propagate import CosineKernel, DenseKernel, Fusion, kernels
from ted.store import open_cache
from ted.store.errors import ConfigError

from ...conftest import Cli

NUMBERS = ("--radius", "2", "--top-k", "3", "--context", "2", "--temperature", "0.5")


@dataclass(frozen=True, kw_only=True)
class Dot(DenseKernel):
    """Scaled dot products of queries with keys that are shifted by an offset."""

    name: ClassVar[str] = "dot"

    gain: float = field(default=1.0, metadata={"help": "factor"})
    offset: tuple[float, ...] = (0.0,)
    squared: bool = False

    def prepare(self, parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        together = torch.cat([part / part.std() for part in parts], -1)[None]
        return together, together + self.offset[0]

    def component_count(self, parts: int) -> int:
        return 1

    def score(self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("cqd,ckd->cqk", queries, keys) / queries.shape[-1]
        return scores.square() if self.squared else scores

    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        return scores[0] * self.gain


@pytest.fixture
def dot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the kernel: its entry point is all that a package needs."""

    class Point:
        name, value = "dot", "somewhere:Dot"

        @staticmethod
        def load() -> type[Dot]:
            return Dot

    def entry_points(*, group: str, name: str = "dot") -> list[type[Point]]:
        return [Point] if (group, name) == ("ted.kernels", "dot") else []

    monkeypatch.setattr(kernels, "entry_points", entry_points)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scores(cli: Cli, source: Path, results: Path) -> list[float]:
    found = json.loads(cli("evaluate", source, "--videos", "one", "--results", results, "--json").out)
    return [item["j"]["mean"] for item in found["sequences"][0]["objects"]]


def test_parameters_of_a_foreign_kernel_are_axes(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, dot: None
) -> None:
    common = (davis_source, "--videos", "one", "--cache", cache)
    axes = ("--kernel", "cosine,dot", "--kernel-option", "gain=1,4", "--kernel-option", "squared=true,false")
    done = cli("sweep", *common, *NUMBERS, *axes, "--alpha", "0.4", "--out", tmp_path / "sweep")
    assert done.code == 0
    table = rows(tmp_path / "sweep" / "settings.csv")
    found = {(row["kernel"], row["kernel.gain"], row["kernel.squared"]): row for row in table}
    assert set(found) == {("cosine", "", ""), *(("dot", g, s) for g in ("1.0", "4.0") for s in ("True", "False"))}
    assert len({row["j"] for row in table}) > 2
    for (kernel, gain, squared), row in found.items():
        options = ("--kernel", kernel)
        if kernel == "dot":
            options += ("--kernel-option", f"gain={gain}", "--kernel-option", f"squared={squared}")
        out = tmp_path / f"{kernel}{gain}{squared}"
        assert cli("propagate", *common, *NUMBERS, "--alpha", "0.4", *options, "--out", out).code == 0
        values = scores(cli, davis_source, out)
        assert float(row["j"]) == pytest.approx(sum(values) / len(values), abs=1e-12)
        record = json.loads((out / "one" / "ted.json").read_text())["settings"]
        assert ("kernel" in record) == (kernel == "dot")
        repeated = cli("propagate", *common, "--config", out / "propagate.toml", "--out", out)
        assert "there before" in repeated.err
    searches = [entry.spec.search for entry in open_cache(cache).affinities()]
    assert len(searches) == 5, "one search for the cosine kernel, and one for each parameter of the other"
    best = json.loads((tmp_path / "sweep" / "best.json").read_text())["overall"]
    assert best["options"].count("--kernel-option") in (0, 3)
    read = read_sweep(tmp_path / "sweep")
    assert {means.setting.propagation.kernel for means in read.ranking} == {
        CosineKernel(),
        *(Dot(gain=gain, squared=squared) for gain in (1.0, 4.0) for squared in (True, False)),
    }
    assert (tmp_path / "sweep" / "over-kernel-gain.png").is_file()
    before = read_journal(tmp_path / "sweep")
    again = cli("sweep", *common, "--config", tmp_path / "sweep" / "sweep.toml", "--out", tmp_path / "sweep")
    assert again.code == 0
    assert read_journal(tmp_path / "sweep") == before, "the saved configuration means the same sweep"
    assert cli("report", tmp_path / "sweep", "--out", tmp_path / "report.html").code == 0
    assert "kernel gain" in (tmp_path / "report.html").read_text()


def test_rules_of_the_context_are_axes(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    common = (davis_source, "--videos", "one", "--cache", cache)
    axes = ("--window", "square,circle", "--unrestricted-first", "true,false", "--context-fill", "false,true")
    assert cli("sweep", *common, *NUMBERS, *axes, "--alpha", "0", "--out", tmp_path / "sweep", "--no-plots").code == 0
    table = rows(tmp_path / "sweep" / "settings.csv")
    assert len(table) == 8
    assert len({row["j"] for row in table}) > 2
    flags = {"True": "", "False": "no-"}
    for number, row in enumerate(table):
        out = tmp_path / str(number)
        options = [f"--window={row['window']}"]
        options += [f"--{flags[row[name]]}{name.replace('_', '-')}" for name in ("unrestricted_first", "context_fill")]
        assert cli("propagate", *common, *NUMBERS, "--alpha", "0", *options, "--out", out).code == 0
        values = scores(cli, davis_source, out)
        assert float(row["j"]) == pytest.approx(sum(values) / len(values), abs=1e-12)


def test_tables_of_the_default_rules_have_the_columns_of_earlier_versions(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    common = (davis_source, "--videos", "one", "--cache", cache, *NUMBERS, "--no-plots", "--out", tmp_path / "sweep")
    assert cli("sweep", *common, "--kernel", "cosine", "--window", "square").code == 0
    columns = list(rows(tmp_path / "sweep" / "settings.csv")[0])
    assert columns[: len(PARAMETERS) + 2] == [*PARAMETERS, "videos", "objects"]
    assert "kernel" not in (tmp_path / "sweep" / "sweep.toml").read_text()


def test_a_setting_is_read_back_from_its_columns(dot: None) -> None:
    lists = dict.fromkeys(
        ("video_features", "image_features", "alpha", "temperature", "top_k", "radius", "context"), ()
    )
    more = {
        "kernel": ["dot", "cosine"],
        "kernel_options": ["gain=1:2:0.5", "offset=1,2", "offset=0.5"],
        "window": ["circle"],
        "unrestricted_first": ["true,false"],
    }
    space = make_space({**lists, **more}, get_preset("davis-best"), renormalize=True)
    settings = space.settings()
    assert len(settings) == 2 * (1 + 3 * 2)
    for setting in settings:
        assert Setting.from_columns({name: str(value) for name, value in setting.columns.items()}) == setting
    options = space_options(space)
    assert options["kernel"] == ["dot", "cosine"]
    assert set(options["kernel_option"]) >= {"gain=1.5", "offset=1.0,2.0", "squared=False"}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["nothing"], [], "there is no kernel 'nothing'"),
        (["dot"], ["gain"], "'gain' is not NAME=LIST"),
        (["dot"], ["gian=1"], "no kernel of dot has a parameter 'gian'; parameters: gain, offset, squared"),
        (["dot"], ["gain=x"], "gain 'x' is no number"),
        (["dot"], ["squared=perhaps"], "squared must be true or false"),
        (["dot,"], [], "kernel has an empty value"),
    ],
)
def test_kernels_that_make_no_sense_are_errors(dot: None, names: list[str], options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_kernels(names, options)


def test_presets_of_other_protocols() -> None:
    dinov3 = get_preset("dinov3")
    assert (dinov3.radius, dinov3.window, dinov3.context, dinov3.top_k, dinov3.temperature) == (12, "circle", 7, 5, 0.2)
    jhmdb, similar = get_preset("jhmdb"), get_preset("youtube-similar-best")
    assert (jhmdb.window, jhmdb.unrestricted_first, jhmdb.context_fill) == ("circle", True, True)
    assert (jhmdb.features, jhmdb.alpha, jhmdb.temperature) == (similar.features, similar.alpha, similar.temperature)
    newest, first = get_preset("davis-efficient"), get_preset("davis-efficient-v1")
    assert [(preset.ensemble, preset.overlap) for preset in (newest, first)] == [(1, 2), (1, 0)]
