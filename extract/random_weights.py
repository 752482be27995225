"""Random weights of untrained networks."""

import torch
from torch import nn

#: Name endings of scale vectors, of normalisations and of layers (DINO's LayerScale).
_SCALES = ("weight", "lambda1")


def draw_parameters(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter of a module, including those that are usually initialised with zero or one.

    diffusers initialises the last convolution of a temporal layer with zeros, so its untrained networks would behave as
    if they had no temporal layers.

    The module is on the CPU, like the generator; its parameters are drawn in the order of their names.
    """
    for name, parameter in sorted(module.named_parameters()):
        parameter.data = draw_tensor(name, tuple(parameter.shape), generator)


def draw_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw one parameter, float32, so that a layer's outputs are about as large as its inputs.

    Weights (output, input, ...) have variance 1 / inputs; scales are near 1; biases and the blend factors of space and
    time are near 0; tokens and position embeddings, whose first axis has length 1, have variance 1.
    """
    noise = torch.randn(shape, generator=generator)
    if len(shape) >= 2:
        return noise if shape[0] == 1 else noise / noise[0].numel() ** 0.5
    return 1 + 0.1 * noise if name.endswith(_SCALES) else 0.1 * noise
