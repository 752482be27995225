"""The cosine kernel and its exact search."""

from .kernel import CosineKernel

__all__ = ["CosineKernel"]
