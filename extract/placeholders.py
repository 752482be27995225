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

from ..store.errors import WeightsError

#: Name of the file with the declarations, in the weights' folder.
DECLARATIONS = "ted.json"

#: Number of text states of a prompt with CLIP's text encoders.
PROMPT_TOKENS = 77


@dataclass(frozen=True, kw_only=True)
class Placeholders:
    """The declarations of a folder."""

    vae: int | None = None  # pixels per latent along one axis, which are averaged; None with a VAE
    colourfulness: float | None = None  # factor of the fourth channel; None if that is luma
    text: int | None = None  # number of zero text states; None with a text encoder
    image: bool = False  # whether image embeddings are zeros
    clip_length: int | None = None  # declared number of frames in a clip

    @property
    def parts(self) -> set[str]:
        """Names of the parts that are replaced."""
        vae, text = {"vae"} if self.vae else set(), {"text_encoder", "tokenizer"} if self.text else set()
        return vae | text | ({"image_encoder", "feature_extractor"} if self.image else set())


def read_placeholders(folder: Path, allowed: Sequence[str] = ("vae", "text", "image", "clip_length")) -> Placeholders:
    """Read the declarations of a folder of weights; without the file there are none.

    Raises WeightsError for a file that is not JSON, for a declaration that is not `allowed`, and for an invalid one.
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

    def wrong(name: str, needed: str, value: Any) -> WeightsError:
        return WeightsError(f'{path}: "{name}" must be {needed}, not {json.dumps(value)}')

    def positive(name: str, value: Any) -> int:
        if type(value) is not int or value < 1:
            raise wrong(name, "a whole number of at least 1", value)
        return value

    found: dict[str, Any] = {}
    for name, value in declared.items():
        if name not in allowed:
            close = get_close_matches(name, allowed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise WeightsError(f"{path}: unknown declaration {name!r}; this backbone takes {', '.join(allowed)}{hint}")
        if name == "clip_length":
            found[name] = positive(name, value)
        elif name == "image":
            if value != "zeros":
                raise wrong(name, '"zeros"', value)
            found[name] = True
        elif name == "text":
            if value != "zeros" and (not isinstance(value, dict) or list(value) != ["zeros"]):
                raise wrong(name, '"zeros" or {"zeros": n}', value)
            found[name] = PROMPT_TOKENS if value == "zeros" else positive("zeros", value["zeros"])
        elif value == "none":
            found["vae"] = 1
        else:
            if not isinstance(value, dict) or not {"area_average"} <= set(value) <= {"area_average", "colourfulness"}:
                raise wrong(name, '"none" or {"area_average": n}', value)
            factor = found["vae"] = positive("area_average", value["area_average"])
            if 32 % factor:
                raise WeightsError(
                    f"{path}: area_average must divide 32, as frames are multiples of 32 pixels, not {factor}"
                )
            colourfulness = value.get("colourfulness")
            if colourfulness is not None:
                if type(colourfulness) not in (int, float) or not 0 < colourfulness < math.inf:
                    raise wrong("colourfulness", "a positive number", colourfulness)
                found["colourfulness"] = float(colourfulness)
    return Placeholders(**found)
