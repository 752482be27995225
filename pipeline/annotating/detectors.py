"""Objects that a text names, found by a detector of transformers whose weights are in a local folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ...store.errors import ConfigError, WeightsError
from .segmenters import Prompt, Segmenter

_Picture = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]

# transformers writes it as `resample`: bilinear (2) or bicubic (3), by Pillow's numbers.
_RESAMPLING = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something in a frame that a text may mean.

    Attributes
    ----------
    score
        How well it fits, in [0, 1].
    centre
        x and y, in shares of the frame's width and height.
    area
        Share of the frame.
    mask
        Returns its mask, (height, width), bool.
    part
        Whether it is a connected part of a map of the text, rather than an object that the model tells from others.
    """

    score: float
    centre: tuple[float, float]
    area: float
    mask: Callable[[], _Mask]
    part: bool = False

    @classmethod
    def of_mask(cls, score: float, mask: _Mask, *, part: bool = False) -> "Candidate":
        """Return a candidate whose mask, which is not empty, is known."""
        ys, xs = np.nonzero(mask)
        centre = (float(xs.mean() + 0.5) / mask.shape[1], float(ys.mean() + 0.5) / mask.shape[0])
        return cls(score=score, centre=centre, area=len(xs) / mask.size, mask=lambda: mask, part=part)


@dataclass(frozen=True, kw_only=True)
class Finder:
    """A way to find what a text names.

    Attributes
    ----------
    find
        Takes a frame (height, width, 3), RGB, a text, the prompt that contains it, for models that read more than the
        text, and the least score. Returns candidates of that score, and the best score of all.
    least
        The least score by default.
    """

    find: Callable[[_Picture, str, str, float], tuple[list[Candidate], float]]
    least: float


def split_map(values: npt.NDArray[np.floating[Any]], inside: _Mask, score: float | None = None) -> list[Candidate]:
    """Return the connected parts of a map's region, but not those smaller than a hundredth of the largest one.

    Parameters
    ----------
    values
        (height, width), in [0, 1]: how well each pixel fits the text.
    inside
        (height, width): the region.
    score
        Score of all parts; by default, each part's is its largest value.
    """
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    masks = [parts == number for number in range(1, count) if areas[number - 1] * 100 >= areas.max()]
    return [Candidate.of_mask(float(values[mask].max()) if score is None else score, mask, part=True) for mask in masks]


@dataclass(frozen=True, kw_only=True)
class _Family:
    """A family of detectors.

    Attributes
    ----------
    model
        Name of the class in transformers.
    least
        The least score, as the library's post-processing or the paper has it.
    window
        Returns the number of tokens that the text encoder reads, from the configuration.
    read
        Returns scores (candidate,) with boxes (candidate, 4) of left, top, right and bottom in shares of the picture,
        or with maps (candidate, y, x) in [0, 1], from the model's output.
    pad
        Whether pictures are padded to squares, at the right or the bottom.
    to_window, ends_with_dot
        Whether texts are padded to the window; whether the model reads phrases in lower case that end with a dot.
    one_map
        Whether there is one map of the text, rather than masks of objects.
    """

    model: str
    least: float
    window: Callable[[Any], int]
    read: Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
    pad: bool = False
    to_window: bool = False
    ends_with_dot: bool = False
    one_map: bool = False


def _read_boxes(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Read boxes given by centre and size, each with its best token or query (Grounding DINO, OWL-ViT, OWLv2)."""
    x, y, width, height = output.pred_boxes[0].unbind(-1)
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return output.logits[0].sigmoid().amax(-1), torch.stack(corners, -1)


def _read_sam3(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Read masks; a score counts as much as the concept's presence in the picture."""
    return output.pred_logits[0].sigmoid() * output.presence_logits[0].sigmoid(), output.pred_masks[0].sigmoid()


def _read_clipseg(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the one map of the text, whose score is its largest value."""
    values = output.logits.reshape(1, *output.logits.shape[-2:]).sigmoid()
    return values.amax((1, 2)), values


def _text_window(config: Any) -> int:
    return int(config.text_config.max_position_embeddings)


_SAM3 = _Family(model="Sam3Model", least=0.3, window=_text_window, read=_read_sam3, to_window=True)
_DINO = _Family(
    model="GroundingDinoForObjectDetection",
    least=0.25,
    window=lambda config: int(config.max_text_len),
    read=_read_boxes,
    ends_with_dot=True,
)
_OWLV2 = _Family(
    model="Owlv2ForObjectDetection", least=0.1, window=_text_window, read=_read_boxes, pad=True, to_window=True
)

#: Families by `model_type` in ``config.json``.
FAMILIES: Mapping[str, _Family] = {
    "sam3": _SAM3,
    "sam3_video": _SAM3,  # the published folder: of it, the detector is loaded
    "grounding-dino": _DINO,
    "mm-grounding-dino": replace(_DINO, model="MMGroundingDinoForObjectDetection"),
    "owlv2": _OWLV2,
    "owlvit": replace(_OWLV2, model="OwlViTForObjectDetection", pad=False),
    "clipseg": _Family(
        model="CLIPSegForImageSegmentation", least=0.3, window=_text_window, read=_read_clipseg, one_map=True
    ),
}


def load_detector(folder: Path, segment: Segmenter, device: Any = "cpu") -> Finder:
    """Load a detector from a folder in the layout of transformers. Nothing is downloaded.

    The family follows from ``config.json``: SAM 3 finds masks, Grounding DINO, OWL-ViT and OWLv2 find boxes, CLIPSeg
    one map. Pictures are prepared from the values in ``preprocessor_config.json``, without the library's processors,
    which need torchvision.

    Parameters
    ----------
    folder
        Folder with ``config.json``, the weights, the tokenizer and the processor's settings.
    segment
        Makes masks from boxes.
    device
        Device to compute on.

    Raises
    ------
    WeightsError
        If the folder has no such model, or lacks a part of it.
    """
    import transformers

    from ...extract.model_folder import quiet_libraries

    kind = _read_json(folder / "config.json").get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise WeightsError(
            f"{folder} holds a model of type {kind!r}; objects are found by text with {', '.join(FAMILIES)}"
        )
    settings = _read_json(_processor_file(folder))
    settings = settings.get("image_processor", settings)
    try:
        with quiet_libraries():
            model, loading = getattr(transformers, family.model).from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files and wrong shapes raise errors of many kinds
        raise WeightsError(f"cannot load {folder} as {family.model}: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        raise WeightsError(f"{folder} lacks {len(missing)} of the tensors of {family.model}: {', '.join(missing[:3])}")
    model, window = model.to(device).eval(), family.window(model.config)

    def find(picture: _Picture, text: str, _prompt: str, least: float) -> tuple[list[Candidate], float]:
        words = f"{text.lower().rstrip('.')}." if family.ends_with_dot else text
        length = len(tokenizer(words).input_ids)
        if length > window:
            raise ConfigError(f"{text!r} has {length} tokens, of which {family.model} reads {window}: shorten it")
        padding = {"padding": "max_length", "max_length": window} if family.to_window else {}
        tokens = tokenizer(words, return_tensors="pt", **padding).to(device)
        with torch.inference_mode():
            output = model(pixel_values=_prepare(picture, settings, pad=family.pad).to(device), **tokens)
        scores, found = (part.float().cpu() for part in family.read(output))
        order = scores.argsort(descending=True, stable=True)
        good = [number for number in order.tolist() if scores[number] >= least]
        if found.ndim == 3:
            candidates = _from_maps(found[good], scores[good].tolist(), picture, least, parts=family.one_map)
        else:
            candidates = _from_boxes(found[good], scores[good].tolist(), picture, segment, square=family.pad)
        return candidates, float(scores.max())

    return Finder(find=find, least=family.least)


def _from_maps(
    maps: torch.Tensor, scores: Sequence[float], picture: _Picture, least: float, *, parts: bool
) -> list[Candidate]:
    """Return candidates from maps (candidate, y, x): their regions above 0.5; or connected parts above the score."""
    if not len(maps):
        return []
    resized = functional.interpolate(maps[None], picture.shape[:2], mode="bilinear", align_corners=False)[0].numpy()
    if parts:
        return split_map(resized[0], resized[0] >= least)
    return [
        Candidate.of_mask(score, values > 0.5)
        for score, values in zip(scores, resized, strict=True)
        if (values > 0.5).any()
    ]


def _from_boxes(
    boxes: torch.Tensor, scores: Sequence[float], picture: _Picture, segment: Segmenter, *, square: bool
) -> list[Candidate]:
    """Return candidates from boxes in shares of the picture, or of the square that it is padded to."""
    height, width = picture.shape[:2]
    sides = (max(height, width),) * 2 if square else (width, height)
    candidates = []
    for score, box in zip(scores, (boxes * torch.tensor(sides * 2)).tolist(), strict=True):
        left, right = (round(min(max(value, 0), width)) for value in box[::2])
        top, bottom = (round(min(max(value, 0), height)) for value in box[1::2])
        if right > left and bottom > top:
            prompt = Prompt(box=(left, top, right - left, bottom - top))
            centre = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            area = (right - left) * (bottom - top) / (width * height)
            candidates.append(Candidate(score=score, centre=centre, area=area, mask=partial(segment, picture, prompt)))
    return candidates


def _prepare(picture: _Picture, settings: Mapping[str, Any], *, pad: bool) -> torch.Tensor:
    """Pad, resize and normalise a picture as the processor's settings say: (1, 3, y, x), float32."""
    try:
        mean, std = (torch.tensor(settings[key]).reshape(1, 3, 1, 1) for key in ("image_mean", "image_std"))
        size: Mapping[str, int] = settings["size"]
        height, width = picture.shape[:2]
        if pad:
            height = width = max(height, width)
        if "shortest_edge" in size:
            scale = size["shortest_edge"] / min(height, width)
            scale = min(scale, size.get("longest_edge", np.inf) / max(height, width))
            sides = (round(height * scale), round(width * scale))
        else:
            sides = (int(size["height"]), int(size["width"]))
        mode = _RESAMPLING[settings.get("resample", 2)]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"the picture's preparation in preprocessor_config.json cannot be used: {error!r}"
        ) from error
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    pixels = functional.pad(pixels, (0, width - picture.shape[1], 0, height - picture.shape[0]))  # black
    return (functional.interpolate(pixels, sides, mode=mode, align_corners=False, antialias=True) - mean) / std


def _processor_file(folder: Path) -> Path:
    """Return the file with the picture's preparation; processors that are saved today have one file for all."""
    old = folder / "preprocessor_config.json"
    return old if old.is_file() else folder / "processor_config.json"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path.parent} holds no detector in the layout of transformers: {path.name}: {error}"
        ) from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} does not hold a configuration")
    return found
