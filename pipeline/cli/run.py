"""Running a command as a program: exit codes, errors without tracebacks."""

import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ..choices.hints import explain
from ..runs.signals import exit_on_signals


class _Printable(logging.Formatter):
    """Escapes what is not printable in warnings, such as control characters in names."""

    def format(self, record: logging.LogRecord) -> str:
        from ...store import printable

        return printable(super().format(record), keep="\n")


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command as a program, and exit: 0 success, 1 a failure, 2 wrong use, 130 interrupted.

    The program's name begins the names of environment variables (``TED_``, ``TED_PROPAGATE_``), so `ted propagate` and
    `ted-propagate` share them.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Printable())
    exit_on_signals()
    variables = name.replace("-", "_").upper()
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False, auto_envvar_prefix=variables)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: run the same command again to resume", err=True)
        code = 130
    except OSError as error:  # the output could not be written; click handles a reader that has gone
        click.echo(f"Error: {error}", err=True)
        code = 1
    except Exception as error:
        from ...store.errors import ConfigError, TedError  # imports zarr and dask, which `--help` does not need

        if not isinstance(error, TedError):
            raise
        click.echo(f"Error: {explain(error)}", err=True)
        code = 2 if isinstance(error, ConfigError) else 1
    sys.exit(code if isinstance(code, int) else 0)
