"""Interface of affinity kernels, which compare the pixels of a frame with those of its context."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ...store.errors import ConfigError
from ..fusion import Fusion
from .candidates import Affinity, Candidates, rank

if TYPE_CHECKING:
    from ..features import PartInfo
    from ..spec import SearchSpec


@dataclass(frozen=True, kw_only=True)
class KernelParameter:
    """A parameter of a kernel, declared by a field of its dataclass.

    Attributes
    ----------
    name
        Name of the field.
    default
        Its default, which also gives the type: bool, int, float, str, or a tuple of float.
    help
        One-line description, from the field's metadata.
    """

    name: str
    default: Any
    help: str = ""

    def parse(self, text: str) -> Any:
        """Read a value from text; a tuple's numbers are separated by commas.

        Raises
        ------
        ConfigError
            If the text is not a value of the parameter's type.
        """
        kind = type(self.default)
        try:
            if kind is bool:
                return {"true": True, "false": False}[text.lower()]
            if kind is tuple:
                return tuple(float(number) for number in text.split(",")) if text else ()
            return kind(text)
        except (ValueError, KeyError) as error:
            wanted = {bool: "true or false", int: "a whole number", tuple: "numbers separated by commas"}
            raise ConfigError(
                f"{self.name} must be {wanted.get(kind, 'a number' if kind is float else kind.__name__)}, not {text!r}"
            ) from error


class ContextIndex(ABC):
    """A searchable index of the keys of a frame's context, in memory."""

    @abstractmethod
    def keep(self, frames: Iterable[int]) -> None:
        """Drop all other frames; ignore frames that are not in the index."""

    @abstractmethod
    def add(self, frame: int, features: Any) -> None:
        """Add a frame's keys; `features` is the result of `Kernel.prepare` for the frame."""

    @abstractmethod
    def search(self, features: Any, context: Sequence[int], annotated: int) -> Candidates:
        """Find the candidates of a frame.

        Parameters
        ----------
        features
            Result of `Kernel.prepare` for the frame.
        context
            Indices of frames in the index, the annotated ones first. A frame may occur several times.
        annotated
            Number of annotated frames in the context.
        """


@dataclass(frozen=True, kw_only=True)
class Kernel(ABC):
    """A similarity of pixels, and a search for the most similar sources in a context.

    A kernel is a frozen dataclass; its fields are its parameters. It is registered in the entry-point group
    ``ted.kernels``. `DenseKernel` implements everything except `prepare`, `score` and `similarity`.

    Attributes
    ----------
    name
        Name in the registry.
    revision
        Version of the computed values. Cached affinities of another revision are not read.
    finished_weights
        Whether similarities are already weights (such as attention probabilities). The weights of the top-k sources are
        divided by their sum; the temperature has no effect.
    joint_contexts
        Whether one search may cover several context lengths. This requires that every score depends only on its two
        pixels, to the last bit. A softmax over the context violates that, and matrix products of different shapes may.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    finished_weights: ClassVar[bool] = False
    joint_contexts: ClassVar[bool] = False

    def __str__(self) -> str:
        """Return the name with the parameters, such as ``dense (heads 2)``."""
        values = ", ".join(f"{parameter.name} {getattr(self, parameter.name)}" for parameter in self.parameters())
        return f"{self.name} ({values})" if values else self.name

    @classmethod
    def parameters(cls) -> tuple[KernelParameter, ...]:
        """Return the parameters, in the order of the fields."""
        return tuple(
            KernelParameter(name=field.name, default=field.default, help=field.metadata.get("help", ""))
            for field in dataclasses.fields(cls)
        )

    @property
    def identity(self) -> Any:
        """JSON value that determines all similarities; cached affinities and results record it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            "name": self.name,
            "revision": self.revision,
            "parameters": {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        }

    def bind(self, parts: "Sequence[PartInfo]") -> "Kernel":
        """Return the kernel for the features of these taps; `prepare` and `index` are called on the result.

        By default this kernel, which treats all features alike.
        """
        return self

    def component_count(self, parts: int) -> int:
        """Return the number of component scores of a pair of pixels, given the number of parts."""
        return parts

    @abstractmethod
    def prepare(self, parts: Sequence[torch.Tensor]) -> Any:
        """Return the data of a frame that a search needs, for example queries and keys.

        Parameters
        ----------
        parts
            Features of each part, (y, x, channel), float32, on one grid.
        """

    @abstractmethod
    def index(self, spec: "SearchSpec", capacity: int) -> ContextIndex:
        """Return an empty index for a search, for at most `capacity` frames at once."""

    @abstractmethod
    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        """Compute similarities, (...), from component scores, (component, ...), float32.

        The result for one pair must not depend on the other pairs.
        """

    @abstractmethod
    def similarity_map(self, query: Any, cell: tuple[int, int], keys: Any, fusion: Fusion) -> torch.Tensor:
        """Return the similarity of one pixel with every pixel of a frame.

        Parameters
        ----------
        query, keys
            Results of `prepare` for the pixel's frame and for the other frame.
        cell
            (y, x) of the pixel on the grid.
        fusion
            Weights of the parts.

        Returns
        -------
        torch.Tensor
            (y, x), float32.
        """

    def similarities(self, scores: torch.Tensor, fusions: Sequence[Fusion]) -> torch.Tensor:
        """Compute `similarity` for several fusions: (fusion, ...), a new tensor with the same bits."""
        return torch.stack([self.similarity(scores, fusion) for fusion in fusions])

    def weights(self, similarity: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
        """Return the weights of each pixel's sources.

        Parameters
        ----------
        similarity
            (..., pixel, k), falling along k, as in `Affinity`; -inf in empty slots.
        temperature
            Positive; divides similarities before the softmax. A tensor is broadcast.

        Returns
        -------
        torch.Tensor
            (..., pixel, k), summing to 1 along k; 0 in empty slots.
        """
        if self.finished_weights:
            kept = similarity.masked_fill(similarity == -torch.inf, 0)
            total = kept.sum(-1, keepdim=True)
            even = (similarity > -torch.inf).float()
            return torch.where(total > 0, kept / total, even / even.sum(-1, keepdim=True).clamp(min=1))
        # Subtract the maximum before dividing, so that a tiny temperature cannot overflow. Divide by a tensor, since a
        # GPU multiplies by the reciprocal of a number, whose bits differ.
        temperature = torch.as_tensor(temperature, dtype=similarity.dtype, device=similarity.device)
        temperature = temperature.clamp(min=torch.finfo(similarity.dtype).tiny)
        return ((similarity - similarity[..., :1]) / temperature).softmax(-1)

    def rank(
        self, candidates: Candidates, fusion: Fusion, top_k: int, *, cells: int, frames: int, annotated: int = 1
    ) -> Affinity:
        """Return the k most similar candidates of each pixel, (pixel, k); see `rank`."""
        shape = {"cells": cells, "frames": frames, "annotated": annotated}
        found = rank(candidates, self.similarities, [fusion], top_k, **shape)
        return Affinity(sources=found.sources[0], similarity=found.similarity[0])

    def same_similarity(self, one: Fusion, other: Fusion) -> bool:
        """Tell whether two fusions give every pair of pixels the same similarity."""
        return one.weights == other.weights and one.renormalize == other.renormalize

    def serves(self, spec: "SearchSpec", fusion: Fusion, top_k: int) -> bool:
        """Tell whether a search is certain to find the k best sources of every pixel under a fusion, by its definition.

        That holds for its own fusions and k <= `spec.top_k`, and for shorter contexts if `spec.per_frame` is set.
        """
        shorter = spec.per_frame and self.joint_contexts
        return top_k <= spec.top_k and any(
            self.same_similarity(own, fusion)
            and (own.context == fusion.context or (shorter and own.context > fusion.context))
            for own in spec.fusions
        )

    def proven(
        self,
        candidates: Candidates,
        spec: "SearchSpec",
        fusion: Fusion,
        top_k: int,
        *,
        cells: int,
        frames: int,
        annotated: int = 1,
    ) -> torch.Tensor:
        """Return for which pixels the k best candidates under a fusion are certain to be the k best sources.

        This default proves all pixels of settings that the search covers (`serves`), and no others. Kernels that can
        prove more override it.

        Parameters
        ----------
        candidates
            A frame's candidates.
        spec
            The search that found them.
        fusion
            Any fusion of the same parts.
        top_k
            k, at least 1.
        cells, frames, annotated
            As in `rank`.

        Returns
        -------
        torch.Tensor
            (pixel,), bool. False means unproven: the k best sources may still be among the candidates.
        """
        served = self.serves(spec, fusion, top_k)
        return torch.full((len(candidates.sources),), served, device=candidates.sources.device)
