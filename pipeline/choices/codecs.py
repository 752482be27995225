"""The notation of forms on the command line: a form, or the file of a basis."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import Form
from ...store.errors import ConfigError
from ...store.fitting import check_components

__all__ = ["parse_form", "read_components"]


def parse_form(text: str) -> tuple[Form, NDArray[np.float32] | None]:
    """Read ``float16``, ``int8``, ``bitround:N``, ``pca:N``, or ``pca:FILE`` with a ``.npy`` or ``.npz`` file.

    Returns
    -------
    form : Form
        The form. That of a file's components carries their hash, so that two bases never meet in one folder.
    components : numpy.ndarray or None
        (component, channel), float32, from the file.

    Raises
    ------
    ConfigError
        For anything else, and for a file that holds no orthonormal components.
    """
    family, _, name = text.partition(":")
    if family != "pca" or Path(name).suffix not in (".npy", ".npz"):
        return Form.parse(text), None
    components = read_components(Path(name))
    digest = hashlib.sha256(components.astype("<f4").tobytes()).hexdigest()
    return Form(family="pca", size=len(components), basis=digest[:8]), components


def read_components(path: Path) -> NDArray[np.float32]:
    """Read components (component, channel) of a ``.npy`` file, or of the array ``components`` in a ``.npz`` file.

    Raises
    ------
    ConfigError
        When the file cannot be read, or holds something else than orthonormal components.
    """
    try:
        found: Any = np.load(path, allow_pickle=False)
        array = found if isinstance(found, np.ndarray) else found["components"]
        components = np.ascontiguousarray(array, dtype=np.float32)
    except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
        raise ConfigError(f"cannot read components from {path}: {error}") from error
    try:
        check_components(components)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return components
