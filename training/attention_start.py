"""Initial weights of attention layers for short training."""

import torch
from diffusers.models.attention_processor import Attention
from torch import nn

__all__ = ["start_as_similarity"]


@torch.no_grad()
def start_as_similarity(unet: nn.Module) -> None:
    """Make self-attention start as a kernel of similarity, and cross-attention with distinct weights; in place.

    Queries and keys of self-attention begin equal. Components of all queries and keys begin with a variance of about 1
    for normalised inputs, three times that of PyTorch's default, with which attention is nearly uniform.
    """
    for module in unet.modules():
        if isinstance(module, Attention):
            module.to_q.weight.mul_(3**0.5)
            module.to_k.weight.mul_(3**0.5)
            if not module.is_cross_attention:
                module.to_k.weight.copy_(module.to_q.weight)
