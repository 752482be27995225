"""The tuned weights of the last pair, kept beside an incomplete unit so that a run can go on after an interruption."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from ...store import ArtifactWriter
from ...store.durable import explain_os_errors, write_atomic
from .tuning import copy_weights, set_weights

#: Ending of the file in the records of an incomplete unit.
_TUNED = ".tuned"


class TunedWeights:
    """The file of the last pair's tuned weights in the records of an incomplete unit."""

    def __init__(self, writer: ArtifactWriter) -> None:
        self._folder = writer.folder / writer.spec.layout.records
        self._digest = writer.spec.digest()

    def save(self, parameters: Mapping[str, nn.Parameter], frame: int) -> None:
        """Write the weights after the pair that ends in a frame."""
        values = copy_weights(parameters)
        data = safetensors.torch.save(values, metadata=self._metadata(values))
        with explain_os_errors(f"write {self._folder}"):
            write_atomic(self._folder / f"{frame}{_TUNED}", data)

    def load(self, parameters: Mapping[str, nn.Parameter], before: int) -> int:
        """Set the parameters to the latest weights before a frame; return their frame, or 0 if there are none."""
        for frame, path in sorted(self._files().items(), reverse=True):
            if frame >= before:
                continue
            try:
                with safetensors.safe_open(path, "pt") as file:
                    values = {name: file.get_tensor(name) for name in parameters}
                    if file.metadata() != self._metadata(values):  # safetensors has no checksum of its own
                        continue
            except (safetensors.SafetensorError, OSError):
                continue  # damaged: the pairs before are tuned again
            set_weights(parameters, values)
            return frame
        return 0

    def discard(self, but: int | None = None) -> None:
        """Delete the files of all frames but one."""
        with contextlib.suppress(OSError):
            for frame, path in self._files().items():
                if frame != but:
                    path.unlink()

    def _metadata(self, values: Mapping[str, torch.Tensor]) -> dict[str, str]:
        digest = hashlib.sha256()
        for name, value in values.items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return {"unit": self._digest, "sha256": digest.hexdigest()}

    def _files(self) -> dict[int, Path]:
        paths = self._folder.glob(f"[0-9]*{_TUNED}")
        return {int(path.name.removesuffix(_TUNED)): path for path in paths if path.stem.isdecimal()}
