"""The commands that pages show, read with the program's own parsers and never run."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click

from ted.pipeline.cli import ted

__all__ = ["console_lines", "next_commands", "parse_command"]


def console_lines(page: str) -> Iterator[str]:
    """Return the lines of a page's console blocks without the prompt; continued lines are joined."""
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


def next_commands(output: str) -> list[str]:
    """Return the commands that a command's output names as next steps."""
    _, _, steps = output.partition("next: ")
    return re.findall("^ *(ted .*)$", steps, re.MULTILINE)


def parse_command(line: str) -> tuple[str, dict[str, Any]]:
    """Parse a `ted` line, and return the command's name and the values of all its parameters.

    Raises
    ------
    click.ClickException
        For options or values that the command refuses.
    AssertionError
        For a command that does not exist.
    """
    command: click.Command = ted
    _, *words = shlex.split(line, comments=True)
    names: list[str] = []
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"no command {name!r}: {line}"
        command, names = found, [*names, name]
    with command.make_context(names[-1], words) as context:
        return " ".join(names), context.params
