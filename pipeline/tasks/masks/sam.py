"""Refine masks by a model of the SAM family, on embeddings from the cache: its image encoder does not run.

Of each propagated mask, the box and its most confident interior points are the prompt. Of the decoder's masks, the one
with the highest IoU with the propagated mask replaces it if that IoU is high enough (docs/reference/attention.md).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from ....extract.backbones import load_backbone
from ....extract.backbones.sam import Sam
from ....propagate import AnnotatedLabel
from ....propagate.targets.mask_target import MaskTarget
from ....store import Cache, FeatureChoice, Unit
from ....store.errors import ConfigError, LabelError, UnitNotFoundError, WeightsError
from ....store.plugins import read_options
from ...datasets.video import Video
from ..refiners import MakeRefiner

_Mask = npt.NDArray[np.bool_]
_Ids = npt.NDArray[np.uint8]
_Box = tuple[float, float, float, float]

#: Interior pixels are more than this many pixels from the nearest pixel that is not the object's.
_DEPTH = 2.0
#: Confidences that differ by less are equal; then the pixel that lies deeper is taken.
_SAME = 1e-4


@dataclass(frozen=True, kw_only=True)
class SamOptions:
    """Options of the refiner ``sam``.

    Attributes
    ----------
    weights
        Folder of the model, or another value of ``--weights``; empty for the published weights in the hub's cache.
    iou
        Least IoU of a decoded mask with the propagated one, 0 to 1.
    points
        Largest number of points in the object, at least 0.
    margin
        Distance of the box from the mask, as a share of the mask's width and height.
    smallest
        Masks with fewer pixels are kept as they are.
    feedback
        Whether refined masks are the context of later frames.
    """

    weights: str = ""
    iou: float = 0.6
    points: int = 3
    margin: float = 0.05
    smallest: int = 16
    feedback: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.iou <= 1 and self.points >= 0 and 0 <= self.margin < float("inf") and self.smallest >= 1):
            raise ConfigError(
                "the refiner 'sam' takes an iou from 0 to 1, points and margin of at least 0, and smallest of at least "
                f"1, not iou={self.iou}, points={self.points}, margin={self.margin}, smallest={self.smallest}"
            )


def prepare(options: str, device: torch.device) -> MakeRefiner:
    """Load a model without its image encoder; return the function that creates a video's refiner."""
    settings = read_options("refiner 'sam'", options, SamOptions)
    try:
        sam = load_backbone("sam", settings.weights or None, device=device, dtype=torch.float32)
    except WeightsError as error:  # its hint names another option
        raise WeightsError(f"{error}\nor name their folder: --refine sam:weights=FOLDER") from error
    assert isinstance(sam, Sam)
    sam.drop_encoder()
    return lambda cache, video: SamRefiner(sam, _find_embeddings(cache, video, sam), video, settings)


def _find_embeddings(cache: Cache, video: Video, sam: Sam) -> dict[str, Unit]:
    """Find the units of a video's embeddings by tap; raise WeightsError if they were made with other weights."""
    units = {}
    for tap in sam.taps:
        choice = FeatureChoice(backbone=sam.name, timestep=0, tap=tap)
        prefer = [("weights", sam.weights_id)]
        try:
            units[tap] = cache.find(video.dataset, video.name, choice, frames=video.frames.digest(), prefer=prefer)
        except UnitNotFoundError as error:
            feature = f"{sam.name}:0:{','.join(sam.taps)}"
            raise UnitNotFoundError(
                f"{error}\nthe refiner reads them: ted extract SOURCE --feature '{feature}'", hint=error.hint
            ) from error
        if units[tap].request.weights != sam.weights_id:
            raise WeightsError(
                f"{units[tap].spec.label}: these embeddings are of other weights ({units[tap].request.weights}) than "
                f"the refiner's ({sam.weights_id}): give it theirs (weights=FOLDER), or extract them again"
            )
    return units


class SamRefiner:
    """Refines the masks of one video.

    Attributes
    ----------
    identity
        Name, hash of the weights, options, and content hashes of the embeddings.
    counts
        Objects in frames: ``refined``; ``rejected``, whose decoded masks all have too low an IoU; ``too small`` for a
        prompt, which keep their masks, too; and ``box alone``, prompted without a point since they have no interior
        pixels (these are also among the first two).
    feedback
        `feed_back` if the options ask for it, else None.
    """

    def __init__(self, sam: Sam, embeddings: Mapping[str, Unit], video: Video, options: SamOptions) -> None:
        self._sam, self._units, self._options = sam, embeddings, options
        self._ids = MaskTarget(masks=video.read_annotated_masks()).object_ids
        self.counts: Counter[str] = Counter({"refined": 0, "rejected": 0, "too small": 0, "box alone": 0})
        settings = {name: value for name, value in asdict(options).items() if name != "weights"}
        self.identity: Mapping[str, Any] = {
            "name": "sam",
            "version": 1,
            "weights": sam.weights_id,
            **settings,
            "embeddings": {tap: unit.content_hash for tap, unit in embeddings.items()},
        }
        self.feedback: Callable[[torch.Tensor], torch.Tensor] | None = self.feed_back if options.feedback else None
        self._last: tuple[_Ids, Sequence[int]]  # the last result, and the numbers of its refined objects

    def refine(self, frame: int, pixels: Callable[[], npt.NDArray[np.uint8]], value: Any, label: torch.Tensor) -> Any:
        """Return refined object numbers, (height, width), uint8; see `Refiner.refine`. No pixels are read."""
        if not isinstance(value, np.ndarray) or value.ndim != 2 or len(label) != len(self._ids) + 1:
            raise ConfigError("the refiner 'sam' refines masks of objects; leave it out for other tasks")
        prompts = self.prompts(value, label)
        logits = {}
        if prompts:
            embeddings = {tap: self._embedding(unit, frame) for tap, unit in self._units.items()}
            for number, (box, points) in prompts.items():
                masks = self._sam.masks(embeddings, (value.shape[0], value.shape[1]), box=box, points=points)
                best = best_mask(masks.cpu().numpy(), value == number, self._options.iou)
                self.counts["rejected" if best is None else "refined"] += 1
                if best is not None:
                    logits[number] = best
        refined = compose(value, logits)
        self._last = refined, tuple(logits)
        return refined

    def prompts(self, value: _Ids, label: torch.Tensor) -> dict[int, tuple[_Box, list[tuple[float, float, bool]]]]:
        """Return the prompt of each object that is large enough: a box, and points with whether they lie inside.

        The points inside of other objects, one of each that has any, are those in the box.
        """
        inside: dict[int, list[tuple[int, int]]] = {}
        for channel, number in enumerate(self._ids, 1):
            mask = value == number
            area = int(mask.sum())
            if 0 < area < self._options.smallest:
                self.counts["too small"] += 1
            elif area:
                inside[number] = interior_points(mask, label[channel], max(1, self._options.points))
        prompts = {}
        for number, own in inside.items():
            left, top, right, bottom = box = enclosing_box(value == number, self._options.margin)
            others = [points[0] for other, points in inside.items() if other != number and points]
            outside = [(x, y) for x, y in others if left <= x <= right and top <= y <= bottom]
            self.counts["box alone"] += not own
            points = [(float(x), float(y), True) for x, y in own[: self._options.points]]
            points += [(float(x), float(y), False) for x, y in outside]
            prompts[number] = box, points
        return prompts

    def feed_back(self, label: torch.Tensor) -> torch.Tensor:
        """Return the label of the last result: refined objects as annotated ones, others as they were propagated."""
        refined, numbers = self._last
        grid = (label.shape[2], label.shape[1])
        cells = np.asarray(Image.fromarray(refined).resize(grid, Image.Resampling.NEAREST))
        channels = np.stack([cells == number for number in (0, *self._ids)]).astype(np.float32)
        # Objects that are smaller than the grid's cells keep their soft labels, with which they can be tracked.
        known = [
            channel for channel, number in enumerate(self._ids, 1) if number in numbers and channels[channel].any()
        ]
        if not known:
            return label
        annotated = AnnotatedLabel(label=torch.from_numpy(channels).to(label.device), channels=tuple(known))
        return annotated.over(label)

    @staticmethod
    def _embedding(unit: Unit, frame: int) -> torch.Tensor:
        values = torch.from_numpy(np.array(unit.reconstruction[frame].compute(scheduler="threads"), np.float32))
        if not bool(torch.isfinite(values).all()):
            raise LabelError(f"{unit.spec.label}: the embedding of frame {frame} is not finite; extract it again")
        return values.permute(2, 0, 1)


def enclosing_box(mask: _Mask, margin: float) -> _Box:
    """Return left, top, right and bottom of a mask's pixels, moved outward by a share of its sides, in the frame."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    down, across = margin * (rows[-1] - rows[0] + 1), margin * (columns[-1] - columns[0] + 1)
    return (
        float(max(0, columns[0] - across)),
        float(max(0, rows[0] - down)),
        float(min(mask.shape[1] - 1, columns[-1] + across)),
        float(min(mask.shape[0] - 1, rows[-1] + down)),
    )


def interior_points(mask: _Mask, confidence: torch.Tensor, count: int) -> list[tuple[int, int]]:
    """Return x and y of the most confident interior pixels of a mask, which are apart from one another.

    Parameters
    ----------
    mask
        (height, width), bool.
    confidence
        The object's channel of the soft label, (y, x); resized bilinearly to the mask.
    count
        Largest number of points. Further ones are at least a third of the square root of the mask's area apart.
    """
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    size = mask.shape[0], mask.shape[1]
    large = functional.interpolate(confidence[None, None].float().cpu(), size, mode="bilinear")[0, 0].numpy()
    free = depth > _DEPTH
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    apart = mask.sum() / 9
    found: list[tuple[int, int]] = []
    while len(found) < count and free.any():
        equal = free & (large >= large[free].max() - _SAME)
        y, x = divmod(int(np.where(equal, depth, 0).argmax()), size[1])
        found.append((x, y))
        free &= (rows - y) ** 2 + (columns - x) ** 2 >= apart
    return found


def best_mask(logits: npt.NDArray[np.float32], mask: _Mask, least: float) -> npt.NDArray[np.float32] | None:
    """Return the logits (height, width) of the mask with the highest IoU with another; None if that is below `least`.

    `logits` are (mask, height, width), positive inside.
    """
    decoded = logits > 0
    overlaps = (decoded & mask).sum((1, 2)) / (decoded | mask).sum((1, 2))
    best = int(overlaps.argmax())
    return logits[best] if overlaps[best] >= least else None


def compose(value: _Ids, logits: Mapping[int, npt.NDArray[np.float32]]) -> _Ids:
    """Replace objects of a mask of object numbers by decoded ones; the largest positive logit wins a pixel.

    Objects without logits keep their pixels.
    """
    refined = np.where(np.isin(value, list(logits)), 0, value).astype(np.uint8)
    free, best = refined == 0, np.zeros(value.shape, np.float32)
    for number, values in logits.items():
        wins = free & (values > best)
        refined[wins], best[wins] = number, values[wins]
    return refined
