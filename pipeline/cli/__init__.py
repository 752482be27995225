"""The commands ``ted``, ``ted-extract`` and ``ted-propagate``: one file each, imported when it is run."""

import importlib
from typing import NoReturn

import click

from .commands import COMMANDS
from .options import CONTEXT
from .run import run

__all__ = ["load_command", "main", "main_extract", "main_propagate", "ted"]


class _LazyGroup(click.Group):
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
        raise TypeError(f"{module}.{function} is no command")
    return command


@click.group(cls=_LazyGroup, context_settings=CONTEXT)
@click.version_option(package_name="ted-tracking", prog_name="ted")
def ted() -> None:
    """Track objects through video with cached diffusion features.

    Features are extracted once (`ted extract`, on a GPU) and propagated as often as you have an idea
    (`ted propagate`). Start with `ted demo`.
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
