import dataclasses
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ted.extract.backbones import BACKBONES
from ted.extract.settings import BackboneOptions, ExtractionSettings
from ted.pipeline.choices.features import BackboneJob
from ted.pipeline.cli.backbone_options import backbone_options, overlap_rule_option, read_backbone_options
from ted.pipeline.runs.extracting.request import parse_weights
from ted.store.errors import ConfigError


def read(*arguments: str) -> tuple[BackboneOptions, str]:
    """Parse a command line with these options alone."""
    seen: list[tuple[BackboneOptions, str]] = []

    @click.command()
    @backbone_options
    @overlap_rule_option
    def command(overlap_rule: str, **choice: Any) -> None:
        seen.append((read_backbone_options(choice), overlap_rule))

    result = CliRunner().invoke(command, arguments)
    if result.exit_code:
        raise ConfigError(result.output)
    return seen[0]


def test_without_options_everything_is_published() -> None:
    options, rule = read()
    assert options == BackboneOptions()
    assert options.given == ()
    assert rule == ExtractionSettings().overlap_rule == "first"


def test_every_option_has_its_flag() -> None:
    options, rule = read(
        *("--prompt", "two balls", "--condition-on", "video", "--fps", "8", "--motion-bucket", "0"),
        *("--noise-augmentation", "0", "--no-temporal", "--overlap-rule", "mean"),
    )
    expected = BackboneOptions(
        prompt="two balls", condition_on="video", fps=8, motion_bucket=0, noise_augmentation=0.0, temporal=False
    )
    assert options == expected
    assert options.given == tuple(field.name for field in dataclasses.fields(BackboneOptions))
    assert rule == "mean"


def test_zero_and_empty_are_given() -> None:
    assert read("--motion-bucket", "0", "--prompt", "")[0].given == ("prompt", "motion_bucket")


@pytest.mark.parametrize(
    "arguments",
    [("--fps", "0"), ("--condition-on", "last"), ("--motion-bucket", "-1"), ("--noise-augmentation", "-0.1")],
)
def test_values_that_make_no_sense(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=arguments[0]):
        read(*arguments)


JOBS = [BackboneJob(backbone=name, timesteps=(51,), taps=("t",)) for name in ("i2vgen-xl", "adm")]


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        ("random:0", ["adm"], {"adm": "random:0"}),
        ("adm=random:12", ["i2vgen-xl", "adm"], {"adm": "random:12"}),
        ("i2vgen-xl=random:1:weights/a=b", ["i2vgen-xl", "adm"], {"i2vgen-xl": "random:1:weights/a=b"}),
        ("random:1:a=b", ["adm"], {"adm": "random:1:a=b"}),
        ("weights/random:x", ["adm"], {"adm": "weights/random:x"}),
    ],
)
def test_random_weights_on_the_command_line(value: str, names: list[str], expected: dict[str, str]) -> None:
    jobs = [job for job in JOBS if job.backbone in names]
    assert parse_weights([value], jobs) == expected


@pytest.mark.parametrize("value", ["adm=random:", "adm=random:x", "adm=random:-1", "adm=random:1.5:weights"])
def test_random_weights_without_a_seed(value: str) -> None:
    with pytest.raises(ConfigError, match="random:SEED"):
        parse_weights([value], JOBS)


def test_random_weights_of_several_backbones_need_names() -> None:
    with pytest.raises(ConfigError, match="BACKBONE=PATH"):
        parse_weights(["random:0"], JOBS)


def test_an_unknown_backbone_is_named_before_its_weights() -> None:
    with pytest.raises(ConfigError, match=f"unknown backbone 'vdm'.*{next(iter(BACKBONES))}"):
        parse_weights([], [BackboneJob(backbone="vdm", timesteps=(0,), taps=("t",))])
