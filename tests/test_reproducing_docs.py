"""The page on reproducing the paper: its lines are valid for the commands, and each reads what one before it made."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from ted.extract.backbones import backbone_info, check_options
from ted.extract.frames import FrameSize
from ted.extract.settings import ExtractionSettings
from ted.pipeline.choices.features import parse_choice, parse_job
from ted.pipeline.choices.presets import get_preset
from ted.pipeline.cli.extract import BackboneChoice
from ted.pipeline.cli.readout import ReadOutChoice
from ted.pipeline.cli.setting_options import FusionChoice, SettingChoice, preferences
from ted.pipeline.cli.sweep import ListChoice
from ted.pipeline.runs.extracting.request import parse_weights
from ted.pipeline.runs.sweeping.notation import parse_features
from ted.pipeline.runs.sweeping.request import make_space
from ted.store import FeatureChoice, parse_codec
from ted.store.errors import ConfigError
from tests.console import console_lines, parse_command

PAGE = (Path(__file__).parents[1] / "docs" / "guide" / "reproducing.md").read_text()

Values = dict[str, Any]


COMMANDS = [line for line in console_lines(PAGE) if line.startswith("ted ")]


@dataclasses.dataclass
class _Disk:
    """What the lines before have left: features by cache, videos and settings; and folders of results."""

    features: set[tuple[Any, ...]] = dataclasses.field(default_factory=set)
    interpolated: set[tuple[Any, ...]] = dataclasses.field(default_factory=set)
    results: set[Path] = dataclasses.field(default_factory=set)

    def follow(self, line: str) -> None:
        name, values = parse_command(line)
        steps: dict[str, Callable[[Values], None]] = {
            "extract": self._extract,
            "propagate": self._propagate,
            "interpolate": self._interpolate,
            "readout": self._readout,
            "sweep": self._sweep,
            "evaluate": lambda values: self._need([values["results"]]),
            "report": lambda values: self._need(values["results"]),
            "show masks": lambda values: self._need(text.rpartition("=")[2] for text in values["results"]),
            "show pca": self._pca,
            "cache copy": self._copy,
            "cache info": lambda values: _check(parse_choice(values["feature"])),
        }
        steps.get(name, lambda values: None)(values)

    def _extract(self, values: Values) -> None:
        preset = get_preset(values["preset"])
        jobs = [parse_job(text) for text in values["features"] or preset.extracted]
        check_options(BackboneChoice.take(dict(values)).options(), [job.backbone for job in jobs])
        parse_weights(values["weights"], jobs)
        parse_codec(values["store_as"])
        settings = ExtractionSettings(
            frame_size=None if values["frame_size"] is None else FrameSize.parse(values["frame_size"]),
            overlap=preset.overlap if values["overlap"] is None else values["overlap"],
            ensemble=preset.ensemble if values["ensemble"] is None else values["ensemble"],
        )
        if values["dry_run"]:
            return
        for job in jobs:
            for timestep in job.timesteps:
                for tap in job.taps:
                    choice = FeatureChoice(backbone=job.backbone, timestep=timestep, tap=tap)
                    self.features.add(_unit(values, choice, settings.ensemble, settings.overlap))

    def _propagate(self, values: Values) -> None:
        options = dict(values)
        chosen = FusionChoice.take(options)
        SettingChoice.take(options).settings(chosen)
        self._read(values, [choice for choice, weight in chosen.parts() if weight], chosen.preferred())
        self.results.add(values["out"])

    def _interpolate(self, values: Values) -> None:
        if not values["dry_run"]:
            unit = (values["cache"], values["sources"], values["videos"])
            assert unit not in self.interpolated, "no options of `ted readout` choose between the two"
            self.interpolated.add(unit)

    def _readout(self, values: Values) -> None:
        assert (values["cache"], values["sources"], values["videos"]) in self.interpolated
        if len(ReadOutChoice.take(dict(values)).settings()) == 1:
            self.results.add(values["out"])

    def _sweep(self, values: Values) -> None:
        preset = get_preset(values["preset"])
        space = make_space(vars(ListChoice.take(dict(values))), preset, renormalize=values["renormalize"])
        used = [choice for setting in space.settings() for choice, _ in setting.parts]
        self._read(values, used, _preferred(values))
        self.results.add(values["out"])

    def _pca(self, values: Values) -> None:
        choices = parse_features(values["features"])
        self._read(values, [dataclasses.replace(choice, digest=None) for choice in choices], _preferred(values))

    def _copy(self, values: Values) -> None:
        choice = parse_choice(values["feature"])
        there = {unit for unit in self.features if unit[0] == values["cache"] and choice in unit}
        assert there, f"{choice} is not in {values['cache']}"
        self.features |= {(values["destination"], *rest) for _, *rest in there}

    def _read(self, values: Values, choices: list[FeatureChoice], prefer: list[tuple[str, str]]) -> None:
        preferred = dict(reversed(prefer))  # the first that names a field decides
        for choice in choices:
            _check(choice)
            unit = _unit(values, choice, int(preferred["ensemble"]), int(preferred["clip_overlap"]))
            assert unit in self.features, f"no line before extracts {unit}"

    def _need(self, folders: Any) -> None:
        for folder in map(Path, folders):
            assert folder in self.results, f"no line before writes {folder}"


def _preferred(values: Values) -> list[tuple[str, str]]:
    return preferences(values["preset"], values["prefer"])


def _unit(values: Values, choice: FeatureChoice, ensemble: int, overlap: int) -> tuple[Any, ...]:
    """Return what tells features apart, as far as the page varies it."""
    _check(choice)
    video = backbone_info(choice.backbone).kind == "video"
    videos = (values["sources"], values["videos"], values["set_name"] or "val", values["dataset"])
    # Features of timestep 0 have no noise, and image backbones no clips.
    return values["cache"], videos, choice, ensemble if choice.timestep else 1, overlap if video else 0


def _check(choice: FeatureChoice) -> None:
    """A backbone that is known, and a tap of its kind."""
    default = backbone_info(choice.backbone).default_tap
    if choice.tap.endswith(":qk"):
        assert choice.tap in {f"up_blocks[3].attentions[{number}].attn1:qk" for number in range(3)}
        assert choice.backbone == "sd21"
        assert (choice.timestep - 1) % 20 == 0  # the grid of the inversion
        return
    if choice.backbone == "sam":
        assert choice.tap in ("embedding", "high_resolution[0]", "high_resolution[1]")
        return
    assert re.sub(r"\d+", "N", choice.tap) == re.sub(r"\d+", "N", default)
    if choice.tap.startswith("up_blocks"):
        assert choice.tap in {f"up_blocks[{number}]" for number in range(4)}
    assert 0 <= choice.timestep < 1000


def test_every_line_is_valid_and_reads_what_is_there() -> None:
    disk = _Disk()
    for line in COMMANDS:
        try:
            disk.follow(line)
        except (click.ClickException, ConfigError, AssertionError) as error:
            pytest.fail(f"{line}\n{error}")
    assert len(disk.features) > 60
    assert len(COMMANDS) > 80


def test_lines_that_are_wrong_are_found() -> None:
    disk = _Disk()
    disk.follow("ted extract DAVIS --preset davis-best")
    disk.follow("ted propagate DAVIS --preset davis-best")
    for wrong in (
        "ted propagate DAVIS --preset davis-best --alhpa 1",
        "ted propagate DAVIS --preset davis-bset",
        "ted propagate DAVIS --preset davis-best --top-k many",
        "ted propagate DAVIS --preset davis-efficient",
        "ted propagate DAVIS --preset davis-best --cache elsewhere",
        "ted propagate DAVIS --preset davis-best --video-feature 'i2vgen-xl:600:up_blocks[2]'",
        "ted sweep DAVIS --preset davis-best --alpha 0:1",
        "ted extract DAVIS --feature 'i2vgen-xl:300:up_blocks[4]'",
        "ted extract DAVIS --preset dift-adm --fps 16",
        "ted evaluate DAVIS --results elsewhere",
        "ted readout DAVIS",
    ):
        with pytest.raises((click.ClickException, ConfigError, AssertionError)):
            disk.follow(wrong)


def test_the_setting_in_full_is_the_preset() -> None:
    preset = get_preset("davis-best")
    extract, propagate = (
        next(parse_command(line)[1] for line in COMMANDS if line.startswith(f"ted {name}"))
        for name in ("extract", "propagate")
    )
    assert extract["features"] == preset.features
    assert (extract["ensemble"], extract["overlap"]) == (preset.ensemble, preset.overlap)
    short = parse_command("ted propagate DAVIS --preset davis-best")[1]
    given, meant = ((FusionChoice.take(line), SettingChoice.take(line)) for line in (propagate, short))
    assert given[0].parts() == meant[0].parts()
    assert dict(given[0].preferred()) == dict(meant[0].preferred())
    assert given[1].settings(given[0]) == meant[1].settings(meant[0])


def test_downloads_are_those_that_the_backbones_name() -> None:
    extracted = [parse_command(line)[1] for line in COMMANDS if line.startswith("ted extract")]
    features = [text for values in extracted for text in values["features"] or get_preset(values["preset"]).extracted]
    backbones = {parse_job(text).backbone for text in features}
    published = {info.published.download for name in backbones if (info := backbone_info(name)).published is not None}
    assert {line for line in console_lines(PAGE) if line.startswith(("hf ", "curl "))} == published


def test_sizes_follow_from_channels_and_grids() -> None:
    rows = re.findall(r"^\| `.*\| (\d+) x (\d+) x (\d+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 10
    for channels, height, width, megabytes, davis in rows:
        size = int(channels) * int(height) * int(width) * 2 / 1e6
        assert f"{size:.2f}" == megabytes
        assert f"{size * 1999 / 1e3:.1f}" == davis
