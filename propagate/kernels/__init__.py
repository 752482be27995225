"""Registry of affinity kernels: this package's, and those of plug-ins (entry-point group ``ted.kernels``)."""

from collections.abc import Mapping
from typing import Any

from ...store.errors import ConfigError, SchemaError
from ...store.plugins import entry_points
from .attention import AttentionKernel
from .base import ContextIndex, Kernel, KernelParameter
from .cosine import CosineKernel

__all__ = [
    "AttentionKernel",
    "ContextIndex",
    "CosineKernel",
    "Kernel",
    "KernelParameter",
    "get_kernel",
    "kernel_class",
    "kernel_names",
    "kernel_of",
    "parse_kernel",
]

_GROUP = "ted.kernels"
_KERNELS: dict[str, type[Kernel]] = {kernel.name: kernel for kernel in (CosineKernel, AttentionKernel)}


def kernel_names() -> list[str]:
    """Return the names of all kernels, this package's first."""
    return [*_KERNELS, *sorted({point.name for point in entry_points(group=_GROUP)} - _KERNELS.keys())]


def kernel_class(name: str) -> type[Kernel]:
    """Return the class of a kernel.

    Raises
    ------
    ConfigError
        For an unknown name, or an entry point that is not a kernel.
    """
    if name in _KERNELS:
        return _KERNELS[name]
    for point in entry_points(group=_GROUP, name=name):
        found = point.load()
        if not (isinstance(found, type) and issubclass(found, Kernel) and found.name == name):
            raise ConfigError(f"the entry point {point.value} is not a Kernel named {name!r}")
        return found
    raise ConfigError(f"there is no kernel {name!r}; there are: {', '.join(kernel_names())}")


def get_kernel(name: str, **parameters: Any) -> Kernel:
    """Return a kernel with these parameters; the others have their defaults.

    Raises
    ------
    ConfigError
        For an unknown kernel or parameter, or a value that the kernel rejects.
    """
    found = kernel_class(name)
    _parameters(found, parameters)
    return found(**parameters)


def parse_kernel(name: str, parameters: Mapping[str, str]) -> Kernel:
    """Return a kernel; parse its parameters from text. Raises ConfigError as `get_kernel` does."""
    found = kernel_class(name)
    known = _parameters(found, parameters)
    return found(**{key: known[key].parse(text) for key, text in parameters.items()})


def kernel_of(identity: Any) -> Kernel:
    """Return the kernel with a recorded `Kernel.identity`.

    Raises
    ------
    SchemaError
        When no known kernel has that identity: it belongs to another revision, or to a package that is not installed.
    """
    try:
        if isinstance(identity, str):
            known = next(
                (found for found in (kind() for kind in _KERNELS.values()) if found.identity == identity), None
            )
        else:
            values = {
                key: tuple(value) if isinstance(value, list) else value for key, value in identity["parameters"].items()
            }
            known = get_kernel(identity["name"], **values)
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise SchemaError(f"the cache records a kernel that is not known here: {error}") from error
    if known is None or known.identity != identity:
        raise SchemaError(f"the cache records affinities of another kernel or revision than is known here: {identity}")
    return known


def _parameters(kernel: type[Kernel], given: Mapping[str, Any]) -> dict[str, KernelParameter]:
    known = {parameter.name: parameter for parameter in kernel.parameters()}
    for name in given:
        if name not in known:
            options = ", ".join(known) or "none"
            raise ConfigError(f"the kernel {kernel.name!r} has no parameter {name!r}; it has: {options}")
    return known
