"""The first mask of objects that words name: ``the left deer``."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ...extract.backbones import BACKBONES, load_backbone
from ...extract.frame_size import DEFAULT_SHORT_SIDE, FrameSize, processed_size, to_pixels
from ...extract.noising.keyed_noise import NoiseKey
from ...extract.word_maps import content_words, trained_side, word_map
from ...store import safe_name
from ...store.durable import explain_os_errors, write_atomic
from ...store.errors import ConfigError, LabelError, WeightsError
from ..datasets.listing import list_masks
from ..datasets.video import AnnotatedMask, Video
from ..formats.shapes import NamedMasks
from ..runs.result_folders import read_record
from .detectors import Candidate, Finder, load_detector, split_map
from .masks import write_masks
from .segmenters import Segmenter, grab_cut

_Ids = npt.NDArray[np.uint8]

#: Name of the file beside masks that says from which words they were made.
RECORD = "text.json"

#: A text that stands for the dataset's.
DATASET = "@dataset"

#: Least contrast of a map of cross-attention.
LEAST_CONTRAST = 0.3

# Directions as steps of x and y, and the sign of an area; a candidate's rank is the sum of those in the text.
_PLACES: Mapping[str, tuple[float, float, float]] = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "top": (0, -1, 0),
    "upper": (0, -1, 0),
    "bottom": (0, 1, 0),
    "lower": (0, 1, 0),
    "largest": (0, 0, 1),
    "biggest": (0, 0, 1),
    "smallest": (0, 0, -1),
}
_PLACE = re.compile(
    rf"\b(?:(?:on|at|in|to)\s+the\s+)?({'|'.join(_PLACES)})(?:most)?(?:-hand)?(?:\s+(?:side|corner))?\b", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A text without its words of place and size.

    Attributes
    ----------
    text
        What is searched for.
    place
        Weights of a candidate's x, y and area, of which the largest sum is chosen; None without such words.
    """

    text: str
    place: tuple[float, float, float] | None


def parse_text(text: str) -> Phrase:
    """Split words of place and size (left, right, top, bottom, largest, smallest, ...) from a text.

    Raises
    ------
    ConfigError
        If no other word is there.
    """
    places = [_PLACES[match.lower()] for match in _PLACE.findall(text)]
    rest = " ".join(_PLACE.sub(" ", text).split())
    if not re.search(r"[^\W_]", rest) or rest.lower() in ("a", "an", "the"):
        raise ConfigError(f"the text {text!r} names no object: write for example 'the left deer'")
    x, y, area = (sum(steps) for steps in zip(*places, strict=True)) if places else (0, 0, 0)
    return Phrase(text=rest, place=(x, y, area) if places else None)


def choose(candidates: Sequence[Candidate], phrase: Phrase) -> tuple[npt.NDArray[np.bool_], str]:
    """Return the mask of the candidate that a phrase means, and which of them it is.

    With words of place or size, it is the candidate furthest there, by the centre (in shares of the frame) or by the
    area; several words add up. Without, it is the candidate with the best score; or all parts of a map, since an object
    may be visible in several parts.
    """
    place = phrase.place
    if place is None and candidates[0].part:
        parts = len(candidates)
        return np.any([one.mask() for one in candidates], axis=0), f"all {parts} parts" if parts > 1 else "one part"
    found = max(
        candidates,
        key=lambda one: one.score if place is None else float(np.dot(place, (*one.centre, one.area))),
    )
    return found.mask(), f"one of {len(candidates)}" if len(candidates) > 1 else "the only one"


@dataclass(frozen=True, kw_only=True)
class TextTargets:
    """Objects that are named by texts.

    Attributes
    ----------
    texts
        A text for each object; `DATASET` for the text that the dataset has for the video.
    by
        What finds them: a backbone with text, ``BACKBONE[:TIMESTEP]``, by its cross-attention; or a folder of weights,
        of Stable Diffusion or of a detector (`load_detector`).
    prompt
        Prompt of the backbone, which contains the texts; by default the texts, joined by "and".
    least
        Least score of a match, in [0, 1]; None for the default of what finds them.
    segment
        Makes masks from a detector's boxes.
    device
        Device to compute on.
    """

    texts: tuple[str, ...]
    by: str = "sd21"
    prompt: str | None = None
    least: float | None = None
    segment: Segmenter = grab_cut
    device: torch.device | str = "cpu"

    def of(self, video: Video) -> tuple[str, ...]:
        """Return the texts for a video; raises LabelError if its dataset should have one, and has none."""
        if DATASET in self.texts and not video.text:
            raise LabelError(f"video {video.name!r} has no text of its dataset (LaSOT has one): write it instead")
        return tuple(video.text if text == DATASET else text for text in self.texts)

    @cached_property
    def finder(self) -> Finder:
        """What finds the objects, loaded once; raises ConfigError or WeightsError if it cannot be."""
        by, timestep = self.by, 100
        head, _, tail = by.rpartition(":")
        if head and tail.isdecimal() and not Path(by).exists():
            by, timestep = head, int(tail)
        folder = Path(by).expanduser()
        if folder.is_dir() and not (folder / "model_index.json").is_file():
            if self.prompt is not None:
                raise ConfigError(f"a prompt is for a backbone, and {folder} is a detector: leave it out")
            return load_detector(folder, self.segment, self.device)
        if not folder.is_dir() and by not in BACKBONES:
            raise ConfigError(f"{by!r} is neither a folder nor a backbone with text, such as sd21")
        name, weights = ("sd21", folder) if folder.is_dir() else (by, None)
        info = BACKBONES[name]
        if info.kind != "image" or "prompt" not in info.options:
            raise ConfigError(f"backbone {name!r} of {info.title} takes no text: choose another one, such as sd21")
        try:
            backbone = load_backbone(name, weights, device=torch.device(self.device), dtype=torch.float32)
        except WeightsError as error:  # its hint names another option
            raise WeightsError(f"{error}\nor give the folder of such weights, or of a detector, with --by") from error
        side = FrameSize(short_side=min(DEFAULT_SHORT_SIDE, trained_side(backbone)), nearest=True)

        def find(picture: npt.NDArray[np.uint8], text: str, prompt: str, least: float) -> tuple[list[Candidate], float]:
            size = processed_size(picture.shape[:2], side, backbone.frame_multiple)
            found = word_map(
                backbone,
                torch.from_numpy(to_pixels(picture, size))[None],
                prompt,
                content_words(text),
                key=NoiseKey(seed=0, video="words", start=0),
                timestep=timestep,
            ).numpy()
            score = contrast(found)
            values: npt.NDArray[Any] = cv2.resize(found, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            return (split_map(values, above_half(values), score) if score >= least else []), score

        return Finder(find=find, least=LEAST_CONTRAST)

    def find(self, video: Video, frame: int, *, number: int = 1, masks: Mapping[int, _Ids] | None = None) -> NamedMasks:
        """Make masks of the objects in one frame; where they overlap, the smaller object is in front.

        Parameters
        ----------
        video, frame
            The video, and the index of the frame.
        number
            Number of the first object; the others count up.
        masks
            Masks that are there already; they keep their objects.

        Raises
        ------
        ConfigError
            For a text that names no object, a number that is there already or too large, and a wrong `by`.
        WeightsError
            For weights that are absent or wrong.
        LabelError
            If a text matches nothing.
        """
        texts = self.of(video)
        phrases = [parse_text(text) for text in texts]
        prompt = self.prompt or " and ".join(phrase.text for phrase in phrases)
        ids = dict(masks or {}).get(frame, np.zeros(video.frames.size, np.uint8)).copy()
        numbers = range(number, number + len(texts))
        if numbers[-1] > 254:
            raise ConfigError("objects have numbers from 1 to 254")
        if there := sorted({*np.unique(ids).tolist()} & {*numbers}):
            raise ConfigError(
                f"object {there[0]} is in the mask already, perhaps corrected: give another number with --object, or "
                "--overwrite to replace the masks; `ted mask VIDEO` alone opens a window to correct them"
            )
        finder, picture = self.finder, video.frames.read(frame)
        least = finder.least if self.least is None else self.least
        found: dict[int, npt.NDArray[np.bool_]] = {}
        notes = []
        for at, text, phrase in zip(numbers, texts, phrases, strict=True):
            candidates, best = finder.find(picture, phrase.text, prompt, least)
            if not candidates:
                raise LabelError(
                    f"{phrase.text!r} matches nothing in frame {video.frames.names[frame]}: the best score is "
                    f"{best:.2g}, below {least:g}; try other words, another --frame of `ted mask`, or --min-score"
                )
            found[at], which = choose(candidates, phrase)
            share = 100 * found[at].mean()
            notes.append(f"object {at}: {text!r}, {which}; best score {best:.2g}; {share:.1f} % of the frame")
        for at in sorted(found, key=lambda at: -found[at].sum()):
            ids[found[at]] = at
        for at, text in zip(numbers, texts, strict=True):
            if not (ids == at).any():
                raise LabelError(f"{text!r} matches the pixels of another text: try other words")
        return NamedMasks(
            masks={**(masks or {}), frame: ids}, names=dict(zip(numbers, texts, strict=True)), notes=notes
        )

    def save(self, video: Video, found: NamedMasks, out: Path, frame: int) -> tuple[Path, Path]:
        """Write masks, a sheet of them, and a record of the texts; return the folder and the sheet. Replaces masks."""
        folder, sheet = write_masks(video, found, out, alone=True)
        record = {**self._request(video, frame), "files": _digests(folder)}
        with explain_os_errors(f"write {folder}"):
            write_atomic(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
        return folder, sheet

    def annotate(self, video: Video, out: Path, *, frame: int = 0) -> tuple[Video, str]:
        """Return a video that starts from the masks of the texts, and a note that says where they are.

        Masks that are there already from the same texts and frame are used as they are, corrected or not.

        Raises
        ------
        ConfigError
            If masks are there that no text made, or that others or another frame made and somebody corrected.
        TedError
            As `find`.
        """
        folder = out / safe_name(video.name)
        record, there = read_record(folder, RECORD) or {}, _digests(folder)
        changed, request = there != record.pop("files", {}), self._request(video, frame)
        if there and {"frame_digest": request["frame_digest"], **record} == request:  # older records lack it
            how = f"masks from before{', corrected since,' if changed else ''} in {folder}"
        elif there and changed:
            raise ConfigError(
                f"{folder} has masks of other texts or another frame that somebody corrected, or that no text made: "
                f"start from them with --annotations {folder} instead of --text, or move them away"
            )
        else:
            found = self.find(video, frame)
            _, sheet = self.save(video, found, out, frame)
            how = "; ".join((*found.notes, f"masks in {folder}; look at them: {sheet}"))
        masks = {name: AnnotatedMask(path=path) for name, path in list_masks(folder).items()}
        return replace(as_text_video(video), annotated_masks=masks), f"{video.name}: {how}"

    def _request(self, video: Video, frame: int) -> dict[str, Any]:
        by = str(Path(self.by).absolute()) if Path(self.by).is_dir() else self.by
        values = {"texts": list(self.of(video)), "by": by, "prompt": self.prompt, "least": self.least}
        return {**values, "frame": video.frames.names[frame], "frame_digest": video.frames.digest([frame])}


def as_text_video(video: Video) -> Video:
    """Return a video of the same frames and true masks that has no other annotations to start from."""
    kept = ("dataset", "name", "frames", "frame_masks", "own_truth", "result_names", "result_parent", "text")
    return Video(**{name: getattr(video, name) for name in kept})


def contrast(values: npt.NDArray[np.floating[Any]]) -> float:
    """Return how far a map's peak rises above its mean: 1 - mean / max, in [0, 1); 0 for a flat map."""
    peak = float(values.max())
    return 1 - float(values.mean()) / peak if peak > 0 else 0.0


def above_half(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """Return the pixels above the middle between a map's minimum and its maximum."""
    return np.asarray(values > (values.min() + values.max()) / 2)


def _digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(list_masks(folder).items())}
