"""Feature units for tests: in memory, or without access."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Volume:
    features: Any
    frame_size: tuple[int, int] = (64, 96)


def volume(values: npt.NDArray[Any], chunk: int = 3, frame_size: tuple[int, int] = (64, 96)) -> Volume:
    return Volume(da.from_array(values, chunks=(chunk, -1, -1, -1)), frame_size)


class Counting:
    """Features computed on demand; records the order in which frames are read."""

    def __init__(self, values: npt.NDArray[Any], chunk: int) -> None:
        self.reads: list[int] = []
        template = np.zeros((0, 0, 0, 0), values.dtype)

        def read(block_info: Any = None) -> npt.NDArray[Any]:
            start, stop = block_info[None]["array-location"][0]
            self.reads.extend(range(start, stop))
            return values[start:stop]

        chunks = da.core.normalize_chunks((chunk, -1, -1, -1), values.shape)
        self.features = da.map_blocks(read, chunks=chunks, dtype=values.dtype, meta=template)
        self.frame_size = (64, 96)


class Untouchable:
    """A unit that must not be accessed at all."""

    @property
    def features(self) -> Any:
        raise AssertionError("features of a part without weight were read")

    @property
    def frame_size(self) -> tuple[int, int]:
        raise AssertionError("the frame size of a part without weight was read")
