"""Configuration files: any option of any command, in TOML."""

import difflib
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click
import tomli_w

from ...store.durable import explain_os_errors, write_atomic
from ...store.errors import ConfigError


def load_config(path: Path, command: str, commands: Mapping[str, click.Command]) -> dict[str, Any]:
    """Return the options of one command in a TOML file, by parameter, not converted to their types.

    A table named like a command (``[extract]``, ``[propagate]``) holds options of that command; keys at the top level
    are options of every command that has them. So one file can serve all commands. Options have their long names,
    with ``-`` or ``_``. Values are read like text on the command line; a list repeats an option.

    Raises
    ------
    ConfigError
        When the file cannot be read, has an unknown key (the nearest one is named), or a value of a wrong type.
    """
    options = {
        name: {
            flag.removeprefix("--"): parameter
            for parameter in found.params
            if isinstance(parameter, click.Option)
            for flag in parameter.opts
            if flag.startswith("--") and parameter.name != "config"
        }
        for name, found in commands.items()
    }
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} is not valid TOML: {error}") from error
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    shared = {key: value for key, value in content.items() if key not in tables}
    everything = {name for names in options.values() for name in names}
    for key in shared:
        _check_key(path, key, everything, "no command has")
    for name, table in tables.items():
        if name not in options:
            raise ConfigError(f"configuration {path}: there is no command [{name}]{_hint(name, options)}")
        for key in table:
            _check_key(path, key, options[name], f"{name} has no")
    known = options[command]
    given = {_flag(key): value for key, value in [*shared.items(), *tables.get(command, {}).items()]}
    return {
        known[flag].name or flag: _as_typed(path, flag, value, known[flag])
        for flag, value in given.items()
        if flag in known
    }


def _as_typed(path: Path, flag: str, value: Any, option: click.Option) -> Any:
    """Return a value as the command line has it: text, a list of texts, or a flag's bool."""
    if option.is_flag:
        if isinstance(value, bool):
            return value
        raise ConfigError(f"configuration {path}: {flag!r} is true or false, not {value!r}")
    items = value if option.multiple and isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in items):
        several = ", or a list of them" if option.multiple else ""
        raise ConfigError(f"configuration {path}: {flag!r} must be a text or a number{several}, not {value!r}")
    texts = [str(item) for item in items]
    return texts if option.multiple else texts[0]


def _check_key(path: Path, key: str, known: Collection[str], complaint: str) -> None:
    if _flag(key) not in known:
        what = "an option" if complaint.endswith("has") else "option"
        raise ConfigError(f"configuration {path}: {complaint} {what} {key!r}{_hint(_flag(key), known)}")


def _hint(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _flag(key: str) -> str:
    return key.replace("_", "-")


def save_config(path: Path, command: str, values: Mapping[str, Any]) -> None:
    """Write resolved options as a TOML file for `load_config`; options that are None are left out."""
    table = {key.replace("_", "-"): _plain(value) for key, value in values.items() if value is not None}
    with explain_os_errors(f"write {path}"):
        write_atomic(path, tomli_w.dumps({command: table}).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
