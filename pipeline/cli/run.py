"""Running a command as a program: exit codes, errors without tracebacks."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ..choices.hints import explain
from ..runs.signals import exit_on_signals

__all__ = ["run"]


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command as a program: 0 all well, 1 something failed, 2 wrong use, 130 interrupted.

    Parameters
    ----------
    command
        What to run.
    name
        Name of the program, for usage messages; variables that set options begin with it (``TED_``,
        ``TED_PROPAGATE_``), so that `ted propagate` and `ted-propagate` heed the same ones.
    arguments
        Of the command; the process's by default.
    """
    exit_on_signals()
    variables = name.replace("-", "_").upper()
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False, auto_envvar_prefix=variables)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; run the same command again to go on", err=True)
        code = 130
    except OSError as error:  # our own output could not be written; click deals with a reader that has gone
        click.echo(f"Error: {error}", err=True)
        code = 1
    except Exception as error:
        from ...store.errors import ConfigError, TedError  # brings zarr and dask, which `--help` can do without

        if not isinstance(error, TedError):
            raise
        click.echo(f"Error: {explain(error)}", err=True)
        code = 2 if isinstance(error, ConfigError) else 1
    sys.exit(code if isinstance(code, int) else 0)
