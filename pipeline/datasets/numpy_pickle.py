"""Reading pickles of numpy arrays without running code that they may hold."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ...store.errors import LabelError

__all__ = ["read_numpy_pickle"]


def read_numpy_pickle(path: Path) -> Any:
    """Read a pickle of arrays in plain containers: dict, list, tuple, str, bytes, numbers.

    A pickle names functions to be called on loading. Here, those that rebuild an array are known, and nothing else is
    even imported.

    Raises
    ------
    LabelError
        When the file cannot be read, is damaged or no pickle, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _NumpyUnpickler(file).load()
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}") from error
    except _RefusedError as error:
        raise LabelError(
            f"{path} asks for {error} to be called on loading; only pickles of numpy arrays in plain containers are "
            "read. Nothing was called. If you trust where it comes from, load it yourself, and save the arrays alone"
        ) from error
    except Exception as error:  # of many kinds, by where in the file the damage is
        raise LabelError(f"{path} is damaged, or no pickle: {str(error) or type(error).__name__}") from error


class _RefusedError(Exception):
    """A pickle asks for something that is not admitted."""


def _latin1(text: str, encoding: str) -> bytes:
    """Do what old protocols ask `_codecs.encode` for; that one would import any codec."""
    if encoding != "latin1":
        raise _RefusedError(f"the codec {encoding!r}")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], Any]:
    """Return what rebuilds arrays, by the names that numpy 1 and numpy 2 write."""
    array = np.zeros(1)
    rebuild, from_buffer = array.__reduce__()[0], array.__reduce_ex__(5)[0]
    names = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _latin1}
    for core in ("numpy.core", "numpy._core"):
        names |= {(f"{core}.multiarray", "_reconstruct"): rebuild, (f"{core}.numeric", "_frombuffer"): from_buffer}
    return names


class _NumpyUnpickler(pickle.Unpickler):
    _known = _admitted()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self._known[module_name, global_name]
        except KeyError:
            raise _RefusedError(f"{module_name}.{global_name}") from None
