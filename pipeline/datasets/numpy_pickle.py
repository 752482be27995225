"""Read pickles of NumPy arrays without running code or trusting memory layouts that they may hold."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...store.errors import LabelError

#: Types of array elements that are read: no objects, no structures.
_PLAIN_TYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9})")


def read_numpy_pickle(path: Path) -> Any:
    """Read a pickle of arrays in plain containers: dict, list, tuple, str, bytes, numbers.

    A pickle names functions to call on loading. NumPy's functions trust the stated type of an array, so a forged array
    of objects over raw bytes could follow pointers of the file's author. Therefore no function of NumPy is called:
    arrays are rebuilt here, from numbers and text only, after all sizes have been checked. Raises LabelError if the
    file cannot be read, is damaged or not a pickle, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _with_arrays(_NumpyUnpickler(file).load(), {})
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}") from error
    except _RefusedError as error:
        raise LabelError(
            f"{path} asks for {error} on loading; only pickles of numpy arrays of numbers in plain containers are "
            "read. Nothing was called. If you trust where it comes from, load it yourself, and save the arrays alone"
        ) from error
    except Exception as error:  # the type depends on where the file is damaged
        raise LabelError(f"{path} is damaged, or not a pickle: {str(error)[:200] or type(error).__name__}") from error


class _RefusedError(Exception):
    """A pickle asks for something that is not allowed."""


class _Inert:
    """An object that a pickle cannot change: it has no attributes, and BUILD calls `__setstate__`."""

    __slots__ = ()
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError(f"a state of {type(self).__name__}")


class _ArrayClass(_Inert):
    """Stand-in for ``numpy.ndarray``, which pickles pass to `_Reconstruct`."""

    __slots__ = ()


class _Function(_Inert):
    """Stand-in for a function that a pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Type(_Inert):
    """Type of array elements: ``numpy.dtype`` with a state of plain numbers."""

    __slots__ = ("value",)

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or not _PLAIN_TYPE.fullmatch(text):
            raise _RefusedError(f"an array of type {text if isinstance(text, str) else type(text).__name__!r:.60}")
        self.value: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        _version, order, *fields = state[:5]
        if order not in ("<", ">", "|", "=") or any(field is not None for field in fields):
            raise _RefusedError("an array with fields")
        self.value = self.value.newbyteorder(order)


class _Array(_Inert):
    """An array that is being rebuilt."""

    __slots__ = ("value",)

    def __init__(self, value: npt.NDArray[Any] | None = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, column_order, data = state
        self.value = _array(data, kind, shape, "F" if column_order else "C")


def _array(data: Any, kind: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    if not isinstance(kind, _Type) or not isinstance(data, bytes | bytearray):
        raise _RefusedError("an array of objects")
    sizes = tuple(int(size) for size in shape)
    if order not in ("C", "F") or any(size < 0 for size in sizes):
        raise ValueError("an array has an impossible shape")
    return np.frombuffer(data, kind.value).reshape(sizes, order=order).copy(order="K")


def _encode(text: str, encoding: str) -> bytes:
    """Encode text as ``_codecs.encode`` does for old protocols, which would import any codec."""
    if encoding != "latin1":
        raise _RefusedError(f"the codec {encoding!r:.60}")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], Any]:
    """Return the stand-ins that rebuild arrays, by the names that NumPy 1 and NumPy 2 write."""
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _ArrayClass(),
        ("numpy", "dtype"): _Function(_Type),
        ("_codecs", "encode"): _Function(_encode),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _Function(lambda *_: _Array())
        names[f"{core}.numeric", "_frombuffer"] = _Function(
            lambda data, kind, shape, order: _Array(_array(data, kind, shape, order))
        )
    return names


class _NumpyUnpickler(pickle._Unpickler):
    """Unpickler in Python: its memo is a dict, while the C version allocates memory up to the largest index."""

    _known = _admitted()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self._known[module_name, global_name]
        except KeyError:
            raise _RefusedError(f"{module_name}.{global_name} to be called") from None


def _with_arrays(item: Any, done: dict[int, Any]) -> Any:
    """Replace every `_Array` in containers by its array. `done` has results by the identity of the item."""
    if isinstance(item, _Array) and item.value is not None:
        return item.value
    if isinstance(item, _Inert):
        raise _RefusedError(f"{type(item).__name__} as a value")
    if not isinstance(item, list | tuple | dict):
        return item
    if id(item) not in done:
        if isinstance(item, tuple):
            done[id(item)] = tuple(_with_arrays(value, done) for value in item)
        else:
            done[id(item)] = item  # first: a container may hold itself
            for key, value in list(item.items() if isinstance(item, dict) else enumerate(item)):
                item[key] = _with_arrays(value, done)
    return done[id(item)]
