"""The commands ``ted``, ``ted-extract`` and ``ted-propagate``: one file each, imported when it is run."""

import importlib
from typing import NoReturn

import click

from .base import Group
from .commands import COMMANDS
from .run import run

__all__ = ["load_command", "main", "main_extract", "main_propagate", "ted"]


class _LazyGroup(Group):
    """A group that imports a command's module only when the command is run: ``ted --help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


def load_command(name: str) -> click.Command:
    """Import a command by its name."""
    module, function, _ = COMMANDS[name]
    command = getattr(importlib.import_module(f".{module}", __name__), function)
    if not isinstance(command, click.Command):
        raise TypeError(f"{module}.{function} is not a command")
    _name_variables(command, f"TED_{name.replace('-', '_').upper()}")
    return command


def _name_variables(command: click.Command, prefix: str) -> None:
    """Name environment variables after long options, even if click would derive another name."""
    for name, subcommand in getattr(command, "commands", {}).items():
        _name_variables(subcommand, f"{prefix}_{name.replace('-', '_').upper()}")
    for option in command.params:
        flags = [flag[2:] for flag in option.opts if flag.startswith("--")]
        if isinstance(option, click.Option) and option.allow_from_autoenv and option.envvar is None and flags:
            option.envvar = [f"{prefix}_{flag.replace('-', '_').upper()}" for flag in flags]


@click.group(cls=_LazyGroup)
@click.version_option(package_name="ted-tracking", prog_name="ted", allow_from_autoenv=False)
def ted() -> None:
    """Track objects through video with cached diffusion features.

    Extract features once (`ted extract`, on a GPU), then propagate labels along them with any settings (`ted
    propagate`, `ted sweep`). Start with `ted demo`.
    """


def main() -> NoReturn:
    """Run ``ted``."""
    run(ted, "ted")


def main_extract() -> NoReturn:
    """Run ``ted-extract``."""
    run(load_command("extract"), "ted-extract")


def main_propagate() -> NoReturn:
    """Run ``ted-propagate``."""
    run(load_command("propagate"), "ted-propagate")
