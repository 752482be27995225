"""Taps: modules of a network whose outputs are read as feature maps, several in one forward pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ..store.errors import ConfigError


def _is_a_map(output: torch.Tensor, _noisy: torch.Tensor) -> torch.Tensor:
    return output


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A module whose output is read as a feature map.

    Attributes
    ----------
    module
        The module, which must run exactly once in a forward pass. If it returns a tuple, the first element is read.
    stride
        Pixels of a frame per cell of the map, along each axis.
    heads
        Number of attention heads. The channels of a map are head-major: (head, channel of the head), flattened.
    to_map
        Function of the module's output and the network's noisy input (clip, latent frame, channel, y, x) that returns
        maps (clip * latent frame, channel, grid y, grid x), clip-major. By default the output is returned.
    keys
        Module of the keys, for a tap that reads queries (`module`) and keys in one map, with channels (head, queries
        then keys of the head).
    problem
        Reason why the tap cannot be read; empty for others.
    """

    module: nn.Module
    stride: int
    heads: int = 1
    to_map: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _is_a_map
    keys: nn.Module | None = None
    problem: str = ""

    def modules(self, name: str) -> dict[str, nn.Module]:
        """Return the modules to read, by name."""
        return {name: self.module} | ({f"{name} keys": self.keys} if self.keys is not None else {})

    def read(self, name: str, outputs: Mapping[str, torch.Tensor], noisy: torch.Tensor) -> torch.Tensor:
        """Return the map, (clip * latent frame, channel, grid y, grid x), from the modules' outputs."""
        maps = [self.to_map(outputs[part], noisy) for part in self.modules(name)]
        if self.keys is None:
            return maps[0]
        return torch.cat([one.reshape(len(one), self.heads, -1, *one.shape[2:]) for one in maps], dim=2).flatten(1, 2)

    def check(self, name: str, shape: Sequence[int], frame_size: tuple[int, int]) -> None:
        """Check features (..., channel, grid y, grid x) against the declared stride and heads.

        Raises
        ------
        ConfigError
            When they disagree, because the backbone declares its tap wrongly.
        """
        channels, *grid = shape[-3:]
        expected = [-(-side // self.stride) for side in frame_size]  # networks round up
        if grid != expected:
            raise ConfigError(
                f"tap {name!r} gives a map of {grid[0]}x{grid[1]} cells for frames of {frame_size[0]}x{frame_size[1]} "
                f"pixels; its stride of {self.stride} means {expected[0]}x{expected[1]}"
            )
        if channels % self.heads:
            raise ConfigError(f"tap {name!r} has {channels} channels, which {self.heads} heads do not divide")


NO_TAPS: Mapping[str, Tap] = MappingProxyType({})


def choose_taps(
    blocks: Mapping[str, Tap], names: Sequence[str], backbone: str, *, attention: Mapping[str, Tap] = NO_TAPS
) -> dict[str, Tap]:
    """Return the taps with these names, each once.

    Parameters
    ----------
    blocks
        Taps of feature maps.
    names
        Names of taps.
    backbone
        Name of the backbone, for messages.
    attention
        Taps of queries and keys.

    Raises
    ------
    ConfigError
        For an unknown name (the message lists the taps, or the nearest ones of attention), and for a tap that cannot be
        read.
    """
    available = {**blocks, **attention}
    unknown = [name for name in names if name not in available]
    if unknown and ("attn" in unknown[0] or "attention" in unknown[0] or unknown[0].endswith((":q", ":k", ":qk"))):
        near = get_close_matches(unknown[0], attention, n=3, cutoff=0)
        known = f"near ones: {', '.join(near)}" if near else "it has no taps of attention"
        raise ConfigError(f"no self-attention at tap {unknown[0]!r} of backbone {backbone!r}; {known}")
    if unknown or not names:
        what = f"unknown tap {', '.join(map(repr, unknown))}" if unknown else "no tap asked for"
        more = f"; and queries and keys of attention, such as {next(iter(attention))}" if attention else ""
        raise ConfigError(f"{what} for backbone {backbone!r}; it has: {', '.join(blocks)}{more}")
    for name in names:
        if available[name].problem:
            raise ConfigError(f"tap {name!r} of backbone {backbone!r} cannot be read: {available[name].problem}")
    return {name: available[name] for name in dict.fromkeys(names)}


class _StopForwardError(Exception):
    """Ends a forward pass after its last tap; never leaves `read_taps`."""


def read_taps(
    forward: Callable[[], Any], modules: Mapping[str, nn.Module], *, stop_early: bool = True
) -> dict[str, torch.Tensor]:
    """Run a forward pass and return the outputs of some modules.

    Parameters
    ----------
    forward
        Function that runs the network once.
    modules
        Modules to read, by tap name. Each must run once in a pass.
    stop_early
        End the pass as soon as all modules have run.

    Returns
    -------
    dict of str to torch.Tensor
        The outputs, in the order of `modules`; the first element where a module returns a tuple (a diffusers block).
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
