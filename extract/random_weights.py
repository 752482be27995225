"""Untrained networks: how every parameter is drawn at random."""

import torch
from torch import nn

__all__ = ["draw_parameters", "draw_tensor"]

#: Ends of the names of vectors that multiply: scales of normalisations, and of layers (DINO's LayerScale).
_SCALES = ("weight", "lambda1")


def draw_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter of a module, also those that training starts from zero or from one.

    A new temporal layer adds nothing, for its last convolution is zero: with the library's own initial weights, a
    network without training would be a network without temporal layers.

    Parameters
    ----------
    module
        The module, on the CPU; its parameters are replaced.
    generator
        Of the CPU. Parameters are drawn in the order of their names.
    """
    for name, parameter in sorted(module.named_parameters()):
        parameter.data = draw_tensor(name, tuple(parameter.shape), generator)


def draw_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw one parameter such that layers keep the size of their input, roughly.

    Parameters
    ----------
    name, shape
        Of the parameter, (output, input, ...) for a layer's weight.
    generator
        Of the CPU.

    Returns
    -------
    torch.Tensor
        float32. Weights have the variance 1 / inputs; scales are near one; biases, and factors that blend space and
        time, near zero; tokens and tables of positions, whose first axis is 1, have the variance 1.
    """
    noise = torch.randn(shape, generator=generator)
    if len(shape) >= 2:
        return noise if shape[0] == 1 else noise / noise[0].numel() ** 0.5
    return 1 + 0.1 * noise if name.endswith(_SCALES) else 0.1 * noise
