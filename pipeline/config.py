"""Configuration files: any option of any command, in TOML."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from ..store.durable import explain_os_errors, write_atomic
from ..store.errors import ConfigError

__all__ = ["load_config", "save_config"]


def load_config(path: Path, command: str, options: Mapping[str, Any], commands: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options of one command from a TOML file.

    Top-level keys are options of this command; a table named like a command (``[extract]``, ``[propagate]``) holds
    options of that command, so that one file can serve them all. Options have their long names, with ``-`` or ``_``.

    Parameters
    ----------
    path
        The file.
    command
        Name of the command that is run.
    options
        Its options by name, with ``_``.
    commands
        Names of all commands.

    Returns
    -------
    dict
        Values by option name.

    Raises
    ------
    ConfigError
        When the file cannot be read, or has an unknown key, with the nearest known name.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} is not valid TOML: {error}") from error
    own = content.get(command, {})
    if not isinstance(own, dict):
        raise ConfigError(f"configuration {path}: {command!r} must be a table, [{command}]")
    shared = {key: value for key, value in content.items() if key not in commands}
    values: dict[str, Any] = {}
    for key, value in [*shared.items(), *own.items()]:
        name = key.replace("-", "_")
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0].replace('_', '-')!r}?" if near else ""
            raise ConfigError(f"configuration {path}: {command} has no option {key!r}{hint}")
        values[name] = value
    return values


def save_config(path: Path, command: str, values: Mapping[str, Any]) -> None:
    """Write resolved options as a TOML file that `load_config` reads; options that are None are left out."""
    table = {key.replace("_", "-"): _plain(value) for key, value in values.items() if value is not None}
    with explain_os_errors(f"write {path}"):
        write_atomic(path, tomli_w.dumps({command: table}).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
