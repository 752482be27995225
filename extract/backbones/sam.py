"""The SAM family: image embeddings as features, and masks from prompts on stored embeddings.

SAM (arXiv 2304.02643), SAM-HQ (2306.01567), SAM 2 (2408.00714) and EdgeTAM (2501.07256). The encoder, the costly part,
runs in extraction. `Sam.masks` needs its embeddings alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from PIL import Image
from torch import nn
from torch.nn import functional

from ...store.errors import ConfigError, WeightsError
from ..encoders import colour_statistics
from ..frame_size import FrameSize
from ..model_folder import ModelFolder
from ..taps import Tap
from .base import Backbone, Condition, Timestep

#: Class of transformers by model type. Checkpoints of the video models hold all parts of the image models.
_CLASSES = {
    "sam": "SamModel",
    "sam_hq": "SamHQModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamModel",
}
_EMBEDDING, _INTERMEDIATE = "embedding", "intermediate"


class _Embeddings(nn.Module):
    """A model's image encoder, with one submodule for each map of its embeddings, by tap."""

    def __init__(self, model: Any, strides: Mapping[str, int]) -> None:
        super().__init__()
        self.model = model
        self.maps = nn.ModuleList(nn.Identity() for _ in strides)
        self.strides = strides

    def forward(self, pixel_values: torch.Tensor) -> None:
        found = self.model.get_image_embeddings(pixel_values)
        if isinstance(found, torch.Tensor):
            found = [found]
        elif _INTERMEDIATE in self.strides:  # SAM-HQ; its decoder reads the first of the intermediate ones
            found = [found[0], found[1][0].permute(0, 3, 1, 2)]
        for child, values in zip(self.maps, found, strict=True):
            child(values)


@dataclass(kw_only=True)
class Sam(Backbone):
    """A model of the SAM family, one frame at a time, without noise.

    Attributes
    ----------
    side
        Height and width of the network's input in pixels.
    pads
        Whether the longer side of a frame becomes `side`, and the rest is padded at the right and at the bottom.
        Otherwise, frames are stretched to a square.
    mean, std
        Mean and standard deviation of the training's colours in [0, 1]: (3, 1, 1), on the CPU.
    """

    side: int
    pads: bool
    mean: torch.Tensor
    std: torch.Tensor

    @property
    def taps(self) -> dict[str, Tap]:
        """The maps that the decoder reads.

        ``embedding``; for SAM-HQ also ``intermediate``, the output of the first layer of global attention; for SAM 2
        and EdgeTAM also ``high_resolution[0]``, the finest, and ``high_resolution[1]``.
        """
        pairs = zip(self.network.strides.items(), self.network.maps, strict=True)  # type: ignore[union-attr, operator, arg-type]
        return {name: Tap(module=module, stride=stride) for (name, stride), module in pairs}

    def processed_size(self, size: tuple[int, int], frame_size: FrameSize | None) -> tuple[int, int]:
        """Return the size of the network's input: frames of all sizes are brought to it."""
        return self.side, self.side

    def content_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that a frame of a size has in the network's input, without padding."""
        if not self.pads:
            return self.side, self.side
        scale = self.side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

    def to_pixels(self, frame: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Resize a frame bilinearly, with antialiasing, as the models' processors do; pad it with the mean colour."""
        height, width = self.content_size((frame.shape[0], frame.shape[1]))
        resized = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        pixels = np.empty((3, *size), np.float32)
        pixels[:] = 2 * self.mean.numpy() - 1
        pixels[:, :height, :width] = resized.transpose(2, 0, 1) / np.float32(127.5) - 1
        return pixels

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise the frames' colours; see `Backbone.encode`."""
        mean, std = self.mean.to(self.device), self.std.to(self.device)
        return ((pixels.to(self.device, torch.float32) + 1) / 2 - mean) / std

    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the frames of all clips as one batch."""
        return {"pixel_values": noisy.flatten(0, 1).to(self.device, self.dtype)}

    def embed(self, frame: npt.NDArray[np.uint8]) -> dict[str, torch.Tensor]:
        """Return a frame's embeddings by tap, (channel, y, x), float32, on `device`; runs the encoder."""
        pixels = torch.from_numpy(self.to_pixels(frame, (self.side, self.side)))
        maps = self.features(self.encode(pixels[None])[None], 0, {}, list(self.taps))
        return {name: values[0, 0] for name, values in maps.items()}

    def drop_encoder(self) -> None:
        """Remove the image encoder, so that memory holds the decoder alone; `features` and `embed` fail from now on."""
        del self.network.model.vision_encoder  # type: ignore[union-attr]

    @torch.inference_mode()
    def masks(
        self,
        embeddings: Mapping[str, torch.Tensor],
        size: tuple[int, int],
        *,
        box: Sequence[float] | None = None,
        points: Sequence[tuple[float, float, bool]] = (),
        several: bool = True,
    ) -> torch.Tensor:
        """Decode the masks of one object from embeddings and a prompt, a box or points or both.

        Parameters
        ----------
        embeddings
            A frame's embeddings by tap, (channel, y, x).
        size
            (height, width) of the frame in pixels.
        box
            Left, top, right and bottom, in pixels of the frame.
        points
            x and y of pixels, and whether they belong to the object.
        several
            Return all masks of an ambiguous prompt (three), instead of one.

        Returns
        -------
        torch.Tensor
            (mask, height, width), float32, on `device`: logits; positive inside of the object.
        """
        content = self.content_size(size)
        scale = torch.tensor([content[1] / size[1], content[0] / size[0]])
        prompt: dict[str, Any] = {"multimask_output": several}
        if box is not None:
            corners = torch.tensor(box, dtype=torch.float32).reshape(2, 2) * scale
            prompt["input_boxes"] = corners.reshape(1, 1, 4).to(self.device)
        if points:
            places = torch.tensor([point[:2] for point in points], dtype=torch.float32) * scale
            prompt["input_points"] = places[None, None].to(self.device)
            prompt["input_labels"] = torch.tensor([[[int(point[2]) for point in points]]], device=self.device)
        maps = {name: values[None].to(self.device, self.dtype) for name, values in embeddings.items()}
        if _INTERMEDIATE in maps:
            prompt["intermediate_embeddings"] = [maps.pop(_INTERMEDIATE).permute(0, 2, 3, 1)]
        levels = [maps[name] for name in self.taps if name in maps]  # the coarsest, ``embedding``, comes last
        prompt["image_embeddings"] = levels if len(levels) > 1 else levels[0]
        masks = self.network.model(**prompt).pred_masks[0].float()  # type: ignore[operator]
        if self.pads:
            masks = functional.interpolate(masks, (self.side, self.side), mode="bilinear", align_corners=False)
            masks = masks[..., : content[0], : content[1]]
        return functional.interpolate(masks, size, mode="bilinear", align_corners=False)[0]


def load(weights: Path, *, device: torch.device, dtype: torch.dtype, seed: int | None = None) -> Sam:
    """Load a model of the SAM family from a folder of the transformers library, or with random weights from a seed.

    Raises
    ------
    WeightsError
        For a model of another family, and for parts that are missing or damaged.
    ConfigError
        When the model needs a package that is not installed (EdgeTAM: timm).
    """
    folder = ModelFolder(weights, backbone="sam", seed=seed)
    kind = folder.config("").get("model_type")
    if kind not in _CLASSES:
        raise WeightsError(
            f"{weights} holds a model of type {kind}; backbone 'sam' needs one of the types {', '.join(_CLASSES)}"
        )
    if kind.startswith("edgetam") and not transformers.utils.is_timm_available():
        raise ConfigError(f"{weights} holds an EdgeTAM, whose encoder needs the package timm")
    model = folder.network("", getattr(transformers, _CLASSES[kind]), device=device, dtype=dtype)
    settings = _processor(folder, weights)
    size = settings.get("size", {})
    pads = "longest_edge" in size
    side = size.get("longest_edge", size.get("height"))
    if not isinstance(side, int) or not (pads or size.get("width") == side):
        raise WeightsError(f"no usable size in the processor's settings of {weights}: {size}")
    mean, std = colour_statistics(settings)
    return Sam(
        name="sam",
        network=_Embeddings(model, _strides(model, side)).eval(),
        device=device,
        dtype=dtype,
        weights_id=folder.weights_id(),
        frame_multiple=side,
        side=side,
        pads=pads,
        mean=mean,
        std=std,
    )


def _processor(folder: ModelFolder, weights: Path) -> Mapping[str, Any]:
    """Read the settings of the image processor, which newer versions of the library save inside another file."""
    if (weights / "preprocessor_config.json").is_file() or not (weights / "processor_config.json").is_file():
        return folder.config("", "preprocessor_config.json")
    settings: Mapping[str, Any] = folder.config("", "processor_config.json").get("image_processor", {})
    return settings


def _strides(model: Any, side: int) -> dict[str, int]:
    """Return the stride of each tap, in the order of the model's embeddings."""
    sizes = getattr(model, "backbone_feature_sizes", None)
    if sizes is None:
        names = [_EMBEDDING] + ([_INTERMEDIATE] if model.config.model_type == "sam_hq" else [])
        return dict.fromkeys(names, model.config.vision_config.patch_size)
    names = [*(f"high_resolution[{level}]" for level in range(len(sizes) - 1)), _EMBEDDING]
    return {name: side // rows for name, (rows, _) in zip(names, sizes, strict=True)}
