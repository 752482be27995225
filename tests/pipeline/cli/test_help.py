"""Help pages: groups, examples, defaults, completion, and how fast they answer."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import ShellComplete

from ted.pipeline.cli import load_command, ted
from ted.pipeline.cli.base import Command, Options, command, next_command, opt
from ted.pipeline.cli.commands import COMMANDS
from tests.console import parse_command

from ..conftest import Cli


def _all(name: str, found: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(found, click.Group):
        yield name, found
    for part, member in getattr(found, "commands", {}).items():
        yield from _all(f"{name} {part}", member)


EVERY = dict(pair for name in COMMANDS for pair in _all(name, load_command(name)))


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_three_examples_that_it_accepts(cli: Cli, name: str) -> None:
    found = EVERY[name]
    assert isinstance(found, Command)
    assert len(found.examples) >= 3
    for line in found.examples:
        assert parse_command(line)[0] == name
    page = cli(*name.split(), "-h").out
    assert page.startswith(f"Usage: ted {name} ")
    assert all(line in page for line in found.examples)


@pytest.mark.parametrize("name", EVERY)
def test_every_option_has_a_group_and_a_sentence(name: str) -> None:
    for parameter in EVERY[name].params:
        if isinstance(parameter, click.Option) and parameter.name != "config":
            assert getattr(parameter, "title", "General") != "General", parameter.name
            assert parameter.help, parameter.name
            assert parameter.help.partition("  [default")[0].endswith("."), parameter.help


def test_groups_are_in_order_and_defaults_are_real(cli: Cli) -> None:
    page = cli("propagate", "-h").out
    titles = [
        "Videos and frames:",
        "Features and their weights:",
        "Label propagation:",
        "Input and output:",
        "General:",
    ]
    positions = [page.index(f"\n{title}\n") for title in titles]
    assert positions == sorted(positions)
    letters = "".join(page.split())  # lines are wrapped
    assert "[default:thepreset's,suchas0.2]" in letters
    assert "[default:thepreset's,suchasi2vgen-xl:300:up_blocks[2]]" in letters
    assert "[envvar:TED_CACHE;default:cache]" in letters


def test_help_pages_import_no_library() -> None:
    """Each page must answer at once: no torch, no store."""
    code = (
        "import sys\nfrom ted.pipeline.cli import ted\n"
        f"for name in {['', *COMMANDS, *EVERY]!r}:\n"
        "    try: ted([*name.split(), '--help'])\n    except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'zarr', 'dask', 'cv2', 'diffusers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


class _Size(Options, title="Size"):
    width: int = opt("Width.", 2)
    heights: tuple[float, ...] = opt("Heights.", flag="--height")
    flat: bool | None = opt("Flat.", flag="--flat/--no-flat")


def test_parameters_and_shared_options_become_options() -> None:
    seen: list[object] = []

    @command(json=True)
    def found(
        size: _Size,
        *,
        name: str = opt("Name.", "x", title="Output"),
        loud: bool = opt("Loud."),
    ) -> None:
        """Do nothing."""
        seen.append((size.width, size.heights, size.flat, name, loud))

    found.main(["--width", "5", "--height", "1", "--height", "2.5", "--no-flat", "--loud"], standalone_mode=False)
    found.main([], standalone_mode=False)
    assert seen == [(5, (1.0, 2.5), False, "x", True), (2, (), None, "x", False)]
    titles = {parameter.name: getattr(parameter, "title", None) for parameter in found.params}
    assert titles == dict.fromkeys(("width", "heights", "flat"), "Size") | dict.fromkeys(
        ("name", "loud", "as_json"), "Output"
    )


def test_the_next_command_has_the_same_videos_and_nothing_else() -> None:
    words = ["my walk.mp4", "--mask", "m.png", "--every", "2", "--first-frame-only", "--cache", "c", "--top-k", "3"]
    context = load_command("propagate").make_context("propagate", words, parent=click.Context(ted, info_name="ted"))
    with context:
        assert next_command("show masks", results=["r"], movie=True) == (
            "ted show masks 'my walk.mp4' --mask m.png --every 2 --first-frame-only --results r --movie"
        )
        assert next_command("show pca", features=["a:1:t", "b:2:t"]) == (
            "ted show pca 'my walk.mp4' --mask m.png --every 2 --first-frame-only --cache c --feature a:1:t "
            "--feature b:2:t"
        )
        assert next_command(overlay=True) == (
            "ted propagate 'my walk.mp4' --mask m.png --every 2 --first-frame-only --top-k 3 --cache c --overlay"
        )
        with pytest.raises(AssertionError, match="colour"):
            next_command("show masks", colour="red")


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        (["propagate", "x", "--preset"], "dav", ["davis-efficient", "davis-efficient-v1", "davis-best", "davis"]),
        (["extract", "x", "--feature"], "ad", ["adm:51:output_blocks[7]"]),
        ([], "prop", ["propagate"]),
        (["extract", "x", "--feature"], "none", []),
    ],
)
def test_completion(words: list[str], begun: str, expected: list[str]) -> None:
    found = ShellComplete(ted, {}, "ted", "_TED_COMPLETE").get_completions(words, begun)
    assert [item.value for item in found] == expected


def test_videos_and_cached_features_are_completed(davis_source: object, extracted: object) -> None:
    shell = ShellComplete(ted, {}, "ted", "_TED_COMPLETE")

    def complete(*words: object, begun: str = "") -> list[str]:
        return [item.value for item in shell.get_completions([str(word) for word in words], begun)]

    assert complete("propagate", davis_source, "--videos") == ["one", "two"]
    assert complete("propagate", davis_source, "--videos", begun="t") == ["two"]
    assert complete("show", "pca", "nowhere", "--videos") == []
    features = complete("propagate", davis_source, "--cache", extracted, "--video-feature", begun="i2v")
    assert features == ["i2vgen-xl:300:up_blocks[2]"]
    assert complete("propagate", davis_source, "--cache", extracted, "--feature", begun="adm") == [
        "adm:51:output_blocks[7]="
    ]
    assert complete("propagate", davis_source, "--cache", "nowhere", "--feature") == []
