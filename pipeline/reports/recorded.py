"""Records beside results: resolved options in TOML, and JSON files."""

import json
import tomllib
from pathlib import Path
from typing import Any

from ...store.errors import ConfigError

__all__ = ["read_json", "read_options"]


def read_options(path: Path, command: str) -> dict[str, Any]:
    """Return the options that `save_config` has written for a command; none where there is no such file.

    Raises
    ------
    ConfigError
        When the file is something else.
    """
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8")).get(command, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the options recorded in {path}: {error}") from error
    return options if isinstance(options, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's mapping; an empty one where there is no such file.

    Raises
    ------
    ConfigError
        When the file is something else.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return values if isinstance(values, dict) else {}
