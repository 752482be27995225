"""Reading features inside a UNet: named taps, several in one pass, which stops after the last of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..store.errors import ConfigError

__all__ = ["choose_taps", "read_taps"]


class _StopForwardError(Exception):
    """Raised inside a UNet's forward once every tap was read; never leaves `read_taps`."""


def choose_taps(available: Mapping[str, nn.Module], names: Sequence[str], backbone: str) -> dict[str, nn.Module]:
    """Pick modules by tap name.

    Raises
    ------
    ConfigError
        For an unknown name, with the list of taps.
    """
    unknown = [name for name in names if name not in available]
    if unknown or not names:
        what = f"unknown tap {', '.join(map(repr, unknown))}" if unknown else "no tap asked for"
        raise ConfigError(f"{what} for backbone {backbone!r}; it has: {', '.join(available)}")
    return {name: available[name] for name in dict.fromkeys(names)}


def read_taps(
    forward: Callable[[], Any], modules: Mapping[str, nn.Module], *, stop_early: bool = True
) -> dict[str, torch.Tensor]:
    """Run a UNet's forward pass and return the outputs of some of its modules.

    Parameters
    ----------
    forward
        Calls the UNet once.
    modules
        Modules to read, by tap name. Each must be called once in a pass.
    stop_early
        End the pass as soon as all of them were read: everything after the last tap is saved.

    Returns
    -------
    dict of str to torch.Tensor
        The modules' outputs, in the order of `modules`. Where a module returns a tuple (a diffusers down block), its
        first element.
    """
    outputs: dict[str, torch.Tensor] = {}

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            outputs[name] = output[0] if isinstance(output, tuple) else output
            if stop_early and len(outputs) == len(modules):
                raise _StopForwardError

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in modules.items()]
    try:
        forward()
    except _StopForwardError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return {name: outputs[name] for name in modules}
