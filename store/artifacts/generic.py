"""Units of any arrays of one video, with a description in JSON: of plug-ins, and those that this project makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import ArrayReader
from ..durable import explain_os_errors
from ..errors import CacheError, ConfigError
from ..fields import MOST, Fields, check_kind, readable
from ..layout import ArrayLayout, UnitLayout
from ..stored import DigestSpec, StoredUnit
from ..writing import StoredWriter
from .registry import ArtifactKind, artifact_kind, register_artifact

#: Weights of attention heads, learned for one video; the loss of each step; the IoU of each head alone.
HEAD_WEIGHTS = ArtifactKind(
    name="head-weights",
    arrays=(
        ArrayLayout(name="weights", dimensions=("head",), dtype="float32"),
        ArrayLayout(name="losses", dimensions=("step",), dtype="float32"),
        ArrayLayout(name="single", dimensions=("head",), dtype="float32"),
    ),
    maker="learning",
)
register_artifact(HEAD_WEIGHTS)

#: Text tokens of a video's objects, learned from their masks in one frame; the loss of each step; the tokens'
#: cross-attention maps in that frame.
TOKEN = ArtifactKind(
    name="token",
    arrays=(
        ArrayLayout(name="tokens", dimensions=("object", "channel"), dtype="float32"),
        ArrayLayout(name="losses", dimensions=("step", "object"), dtype="float32"),
        ArrayLayout(name="maps", dimensions=("object", "cell"), dtype="float32"),
    ),
    maker="token learning",
)
register_artifact(TOKEN)

#: Attention maps of consecutive frames (DINTR-style): frame f has those of the pair f - 1 -> f, frame 0 its own. The
#: largest self-attention weights of each cell of the grid and their cells, rising (-1 and 0 in empty slots); the
#: cross-attention of each target; the loss of each step of fine-tuning; the mean squared error of the roll-out after
#: each of its steps.
INTERPOLATION = ArtifactKind(
    name="interpolation",
    arrays=(
        ArrayLayout(
            name="sources", dimensions=("frame", "cell", "slot"), dtype="int32", compressor="zstd", fill_value=-1
        ),
        ArrayLayout(name="weights", dimensions=("frame", "cell", "slot"), dtype="float32", compressor="zstd"),
        ArrayLayout(name="cross", dimensions=("frame", "target", "cell"), dtype="float32"),
        ArrayLayout(name="losses", dimensions=("frame", "step"), dtype="float32"),
        ArrayLayout(name="errors", dimensions=("frame", "roll"), dtype="float32"),
    ),
    maker="interpolation",
)
register_artifact(INTERPOLATION)


@dataclass(frozen=True, kw_only=True)
class ArtifactSpec(DigestSpec):
    """One per-video artifact of a plug-in's kind, such as a learned token.

    Attributes
    ----------
    kind
        Name of the kind (`ArtifactKind`).
    dataset, video
        Names.
    request
        Everything that determines the values, as JSON values: hashes of frames and weights, training settings.
    sizes
        Length of each axis of the arrays, by name; that of ``"frame"`` is the number of frames.
    """

    request: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int]

    def __post_init__(self) -> None:
        axes = {axis for array in self.layout.arrays for axis in array.dimensions}
        if axes != set(self.sizes):
            raise ConfigError(f"units of the kind {self.kind} have the axes {sorted(axes)}, not {sorted(self.sizes)}")

    @property
    def layout(self) -> UnitLayout:
        kind = artifact_kind(self.kind)
        return UnitLayout(arrays=kind.arrays, maker=kind.maker)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {array.name: tuple(self.sizes[axis] for axis in array.dimensions) for array in self.layout.arrays}

    @property
    def frame_count(self) -> int:
        """Number of frames; 0 for a kind whose arrays have none."""
        return self.sizes.get("frame", 0)

    def determining(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.fields()}

    def fields(self) -> dict[str, Any]:
        return {"request": dict(self.request), "sizes": dict(self.sizes)}

    def columns(self) -> dict[str, Any]:
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in self.shapes.items())
        return {"artifact": self.name, "summary": shapes}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> "ArtifactSpec":
        with readable(where):
            found = Fields(values)
            kind = found.text("kind")
            if where.parent.parent.name.endswith(".zarr"):
                check_kind(values, where.parent.name, artifact_kind(where.parent.name).maker, where)
            sizes = found.mapping("sizes")
            return cls(
                kind=kind,
                dataset=found.text("dataset"),
                video=found.text("video"),
                request=found.mapping("request"),
                sizes={axis: Fields(sizes).integer(axis, 1, MOST) for axis in sizes},
            )


class Artifact(StoredUnit[ArtifactSpec]):
    """One complete artifact; see `StoredUnit`.

    ``artifact["token"]`` is lazy; slicing it reads and checks values: ``artifact["token"][...]``.
    """

    spec_type = ArtifactSpec

    def __repr__(self) -> str:
        return f"<Artifact {self.spec.label}>"

    def __getitem__(self, name: str) -> ArrayReader:
        """Return the reader of an array; raise KeyError if there is no such array."""
        return self._readers[name]


class ArtifactWriter(StoredWriter[ArtifactSpec]):
    """Writes one artifact; see `StoredWriter`."""

    def write_shared(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Store all arrays without the axis ``"frame"``, before the first frame.

        Parameters
        ----------
        values
            Arrays by name; they are cast to the types that the kind declares.

        Raises
        ------
        CacheError
            When names or shapes differ from the spec's, a type cannot hold the values, or the disk fails.
        """
        self._store_shared(self._checked(values, [array.name for array in self.spec.layout.shared_arrays], ()))

    def write(self, frame: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Store one frame of the arrays with the axis ``"frame"``; see `write_shared`."""
        self._check_frame(frame)
        if self.spec.layout.shared_arrays and not self._read_shared() and not self._shared_stored:
            raise CacheError(f"the writer of {self.spec.label} needs `write_shared` before the first frame")
        self._store(frame, self._checked(values, [array.name for array in self.spec.layout.frame_arrays], (frame,)))

    def read(self, frame: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of a frame that is `done`, as they are stored."""
        if frame not in self.done:
            raise CacheError(f"frame {frame} of {self.spec.label} is not stored yet")
        with explain_os_errors(f"read {self.folder}"):
            return {array.name: self._array(array, ())[frame] for array in self.spec.layout.frame_arrays}

    def _checked(
        self, values: Mapping[str, NDArray[Any]], names: list[str], frame: tuple[int, ...]
    ) -> dict[str, NDArray[Any]]:
        """Cast arrays to the kind's types; raise CacheError if shapes differ or values do not fit."""
        shapes = {name: self.spec.shapes[name][len(frame) :] for name in names}
        found = {name: np.shape(value) for name, value in values.items()}
        if found != shapes:
            raise CacheError(f"{self.spec.label} has arrays of shapes {shapes}, not {found}")
        stored = {}
        for array in self.spec.layout.arrays:
            if array.name not in shapes:
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                cast = np.ascontiguousarray(values[array.name]).astype(array.dtype)
            fit = np.isfinite(cast) if cast.dtype.kind == "f" else cast == values[array.name]
            if not fit.all():
                raise CacheError(f"{self.spec.label}: {array.name} has values that {array.dtype} cannot hold")
            stored[array.name] = cast
        return stored
