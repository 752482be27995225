"""Packages whose names are imported at first use."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package: it imports the names that the package imports for type checkers alone.

    Call it with ``__name__`` and ``__file__``. So ``if TYPE_CHECKING:`` is the one list of where names are.
    """
    imports = (node for node in ast.walk(ast.parse(Path(file).read_bytes())) if isinstance(node, ast.ImportFrom))
    homes = {alias.name: f".{node.module}" for node in imports if node.level == 1 for alias in node.names}

    def getattribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name], package), name)

    return getattribute
