"""Environment variables, the home folder in paths, and names of commands."""

import json
from pathlib import Path

import click
import pytest

import ted.pipeline as ted_pipeline
from ted.pipeline.cli import load_command, ted
from ted.pipeline.cli.base import LocalPath
from ted.pipeline.cli.commands import COMMANDS
from ted.store import open_cache

from ..conftest import Cli

SMALL = ("--radius", 2, "--top-k", 5)


def test_a_variable_named_like_the_option_sets_it(
    cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("propagate", davis_source, "--videos", "one", "--cache", extracted, *SMALL, "--out", tmp_path / "r")
    monkeypatch.setenv("TED_PROPAGATE_FEATURE", "adm:51:output_blocks[7]=2 i2vgen-xl:300:up_blocks[2]=1")
    assert cli(*command).code == 0
    record = json.loads((tmp_path / "r" / "one" / "ted.json").read_text())
    assert [item["weight"] for item in record["features"]] == [2, 1]


def options(command: click.Command, variable: str) -> list[tuple[str, click.Option]]:
    """Return every option of a command and its subcommands, with the variable of its long name."""
    found = [
        (f"{variable}_{flag[2:].replace('-', '_').upper()}", option)
        for option in command.params
        if isinstance(option, click.Option)
        for flag in option.opts
        if flag.startswith("--")
    ]
    for name, subcommand in getattr(command, "commands", {}).items():
        found += options(subcommand, f"{variable}_{name.replace('-', '_').upper()}")
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_can_stand_in_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, option in options(load_command(name), f"TED_{name.replace('-', '_').upper()}"):
        if not option.allow_from_autoenv:
            assert option.name in ("yes",)
            continue
        monkeypatch.setenv(variable, "3")
        prefix = variable.removesuffix("_" + option.opts[-1][2:].replace("-", "_").upper())
        context = click.Context(click.Command("x"), auto_envvar_prefix=prefix)
        assert option.resolve_envvar_value(context) == "3", variable


def test_what_asks_for_the_version_or_answers_a_question_is_no_variable(
    cli: Cli, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TED_VERSION", "1")
    monkeypatch.setenv("TED_CACHE_RM_YES", "1")
    before = len(open_cache(cache).units())
    listed = cli("cache", "ls", "--cache", cache)
    assert "adm" in listed.out
    assert cli("cache", "rm", "--cache", cache, "--video", "one").code != 0, "nobody answers the question"
    assert len(open_cache(cache).units()) == before


@pytest.mark.parametrize("way", ["variable", "option", "file"])
def test_the_home_folder(
    cli: Cli, cache: Path, davis_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    options: list[object] = []
    if way == "variable":
        monkeypatch.setenv("TED_CACHE", "~/cache")
        options = ["--out=~/r"]
    elif way == "option":
        options = ["--cache=~/cache", "--out=~/r"]
    else:
        (work / "ted.toml").write_text('cache = "~/cache"\nout = "~/r"\nvideos = "~/list.txt"\n')
        (tmp_path / "list.txt").write_text("one\n")
        options = ["--config", work / "ted.toml"]
    done = cli("propagate", davis_source, *(() if way == "file" else ("--videos", "one")), *options, *SMALL)
    assert done.code == 0
    assert (tmp_path / "r" / "one" / "ted.json").is_file()
    assert not list(work.glob("~*"))


def test_the_home_folder_of_nobody_is_a_name() -> None:
    assert LocalPath().convert("~no-such-user-here/x", None, None) == Path("~no-such-user-here/x")
    assert LocalPath().convert("./~", None, None) == Path("~")


@pytest.mark.parametrize(("typed", "meant"), [("propagat", "propagate"), ("evaluat", "evaluate"), ("swep", "sweep")])
def test_a_mistyped_command_is_answered_with_the_nearest_one(cli: Cli, typed: str, meant: str) -> None:
    done = cli(typed, "x")
    assert done.code == 2
    assert f"There is no command {typed!r}. Did you mean {meant!r}?" in done.err
    assert "Did you mean" not in cli("zzzzzz").err


def test_help_needs_no_command(cli: Cli) -> None:
    assert cli("--help").code == 0
    assert cli("--version").out == f"ted, version {ted_pipeline.__version__}\n"
    assert set(COMMANDS) == set(ted.list_commands(click.Context(ted)))
