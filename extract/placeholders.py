"""Placeholders (stand-ins) for a model's VAE and encoders, declared in the file `ted.json` of a small model's folder.

``{"vae": "none"}``
    The pixels are the latents.
``{"vae": {"area_average": n}}``
    The latents are averages of the pixels over n x n squares; n divides 32.
``{"vae": {"area_average": n, "colourfulness": k}}``
    The same, for a UNet of four channels: the fourth is k (max(R, G, B) - min(R, G, B)).
``{"text": "zeros"}``, ``{"text": {"zeros": n}}``
    77 (as with CLIP) or n text states of zeros, instead of a text encoder and a tokenizer.
``{"image": "zeros"}``
    An image embedding of zeros, instead of an image encoder.
``{"clip_length": n}``
    Number of frames in a clip, for a video backbone whose configuration lacks it.

Other declarations are errors, and so is a part that is neither present nor declared.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from ..store.errors import WeightsError

__all__ = ["DECLARATIONS", "PROMPT_TOKENS", "PixelLatents", "Placeholders", "read_placeholders"]

#: Name of the file with the declarations, in the weights' folder.
DECLARATIONS = "ted.json"

#: Number of text states of a prompt with CLIP's text encoders.
PROMPT_TOKENS = 77

#: Weights of R, G and B in luma (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class Placeholders:
    """The declarations of a folder.

    Attributes
    ----------
    vae
        Pixels per latent along one axis, which are averaged; 1 if the pixels are the latents; None with a VAE.
    colourfulness
        Factor of the fourth channel if it is the colourfulness; None if it is luma.
    text
        Number of zero text states; None with a text encoder.
    image
        Whether image embeddings are zeros.
    clip_length
        Declared number of frames in a clip, or None.
    """

    vae: int | None = None
    colourfulness: float | None = None
    text: int | None = None
    image: bool = False
    clip_length: int | None = None


def read_placeholders(folder: Path, allowed: Sequence[str]) -> Placeholders:
    """Read a folder's declarations from `ted.json`; without the file there are none.

    Parameters
    ----------
    folder
        The weights' folder.
    allowed
        Names of the declarations that the backbone takes.

    Raises
    ------
    WeightsError
        For a file that is not JSON, and for an unknown or invalid declaration.
    """
    path = folder / DECLARATIONS
    if not path.is_file():
        return Placeholders()
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error
    if not isinstance(declared, dict):
        raise WeightsError(f'{path} must hold an object like {{"vae": "none"}}')
    for name in declared:
        if name not in allowed:
            close = get_close_matches(name, allowed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise WeightsError(f"{path}: unknown declaration {name!r}; this backbone takes {', '.join(allowed)}{hint}")
    return Placeholders(
        vae=_vae(path, declared["vae"]) if "vae" in declared else None,
        colourfulness=_colourfulness(path, declared.get("vae")),
        text=_text(path, declared["text"]) if "text" in declared else None,
        image=_image(path, declared["image"]) if "image" in declared else False,
        clip_length=_positive(path, "clip_length", declared["clip_length"]) if "clip_length" in declared else None,
    )


def _vae(path: Path, value: Any) -> int:
    if value == "none":
        return 1
    if not isinstance(value, dict) or not {"area_average"} <= set(value) <= {"area_average", "colourfulness"}:
        raise WeightsError(f'{path}: "vae" must be "none" or {{"area_average": n}}, not {json.dumps(value)}')
    factor = _positive(path, "area_average", value["area_average"])
    if 32 % factor:
        raise WeightsError(f"{path}: area_average must divide 32, as frames are multiples of 32 pixels, not {factor}")
    return factor


def _colourfulness(path: Path, vae: Any) -> float | None:
    value = vae.get("colourfulness") if isinstance(vae, dict) else None
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise WeightsError(f'{path}: "colourfulness" must be a positive number, not {json.dumps(value)}')
    return float(value)


def _text(path: Path, value: Any) -> int:
    if value == "zeros":
        return PROMPT_TOKENS
    if not isinstance(value, dict) or list(value) != ["zeros"]:
        raise WeightsError(f'{path}: "text" must be "zeros" or {{"zeros": n}}, not {json.dumps(value)}')
    return _positive(path, "zeros", value["zeros"])


def _image(path: Path, value: Any) -> bool:
    if value != "zeros":
        raise WeightsError(f'{path}: "image" must be "zeros", not {json.dumps(value)}')
    return True


def _positive(path: Path, name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise WeightsError(f'{path}: "{name}" must be a whole number of at least 1, not {json.dumps(value)}')
    return value


class PixelLatents:
    """Averaged pixels instead of a VAE's latents.

    The channels are R, G and B in [-1, 1], followed for a UNet of four channels by luma (BT.601) or colourfulness.

    Parameters
    ----------
    factor
        Pixels per latent along each axis, which are averaged.
    channels
        Number of channels that the UNet takes: 3 or 4.
    device
        Device of the latents.
    colourfulness
        See `Placeholders`.

    Raises
    ------
    WeightsError
        For another number of channels.
    """

    scaling_factor = 1.0

    def __init__(self, factor: int, channels: int, device: torch.device, colourfulness: float | None = None) -> None:
        if channels not in (3, 4):
            raise WeightsError(
                f"a UNet of {channels} latent channels needs a VAE: pixels stand in only for 3 (RGB) or 4 (RGB, luma)"
            )
        self.stride = self._factor = factor
        self._channels = channels
        self._device = device
        self._colourfulness = colourfulness

    def mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Average pixels (frame, 3, height, width) to latents (frame, channel, y, x), float32."""
        colours = functional.avg_pool2d(pixels.to(self._device, torch.float32), self._factor)
        if self._channels == 3:
            return colours
        if self._colourfulness is not None:
            spread = colours.amax(dim=1, keepdim=True) - colours.amin(dim=1, keepdim=True)
            return torch.cat([colours, self._colourfulness * spread], dim=1)
        luma = torch.einsum("fcyx,c->fyx", colours, colours.new_tensor(_LUMA))
        return torch.cat([colours, luma[:, None]], dim=1)
