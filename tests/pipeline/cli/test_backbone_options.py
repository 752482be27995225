import dataclasses

import pytest
from click.testing import CliRunner

from ted.extract.backbones import BACKBONES
from ted.extract.settings import BackboneOptions, ExtractionSettings
from ted.pipeline.choices.features import BackboneJob
from ted.pipeline.cli import load_command
from ted.pipeline.cli.base import command
from ted.pipeline.cli.extract import BackboneChoice
from ted.pipeline.runs.extracting.request import parse_weights
from ted.store.errors import ConfigError


def read(*arguments: str) -> BackboneOptions:
    """Parse a command line with these options alone."""
    seen: list[BackboneOptions] = []

    @command()
    def found(inputs: BackboneChoice) -> None:
        seen.append(inputs.options())

    result = CliRunner().invoke(found, arguments)
    if result.exit_code:
        raise ConfigError(result.output)
    return seen[0]


def test_without_options_everything_is_published() -> None:
    options = read()
    assert options == BackboneOptions()
    assert options.given == ()
    (rule,) = (option for option in load_command("extract").params if option.name == "overlap_rule")
    assert rule.default == ExtractionSettings().overlap_rule == "first"


def test_every_option_has_its_flag() -> None:
    options = read(
        *("--prompt", "two balls", "--condition-on", "video", "--fps", "8", "--motion-bucket", "0"),
        *("--noise-augmentation", "0", "--no-temporal"),
    )
    expected = BackboneOptions(
        prompt="two balls", condition_on="video", fps=8, motion_bucket=0, noise_augmentation=0.0, temporal=False
    )
    assert options == expected
    assert read("--tokens") == BackboneOptions(tokens=True)  # they take the prompt's place
    names = tuple(field.name for field in dataclasses.fields(BackboneOptions))
    assert options.given == tuple(name for name in names if name != "tokens")


def test_zero_and_empty_are_given() -> None:
    assert read("--motion-bucket", "0", "--prompt", "").given == ("prompt", "motion_bucket")


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
