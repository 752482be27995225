"""What a sweep needs of one video: its units, its ground truth, and a key for the scores of every setting."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ...store import Cache, FeatureChoice, Unit
from ...store.durable import canonical_json, explain_os_errors
from ...store.errors import LabelError, TedError, UnitNotFoundError
from ..datasets.video import Video
from ..metrics.sequence import SequenceTruth
from ..propagation import warn_of_other_settings
from .scoring import Target
from .space import Setting

__all__ = ["Grading", "find_units", "plan_grading"]

#: Part of every key: scores that were computed in another way are not mixed with these.
_SCORING = 1


@dataclass(frozen=True, kw_only=True)
class Grading:
    """What one video's labels are scored against, and under which key.

    Attributes
    ----------
    video
        The video.
    mask
        (height, width): the first frame's object numbers.
    digest
        SHA-256 over the first mask and the ground truth.
    contours
        Whether F is measured beside J.
    """

    video: Video
    mask: NDArray[np.uint8]
    digest: str
    contours: bool

    def target(self, frame_size: tuple[int, int]) -> Target:
        """Return what `score_labels` needs, for features computed from frames of this size."""
        return Target(
            video=self.video.name,
            frame_names=self.video.frames.names,
            annotations={name: path.absolute() for name, path in self.video.annotations().items()},
            object_ids=tuple(int(number) for number in np.unique(self.mask) if number),
            frame_size=frame_size,
            size=self.video.frames.size,
            contours=self.contours,
        )

    def key(self, setting: Setting, units: Mapping[FeatureChoice, Unit]) -> str:
        """Return a name of all that the scores under a setting depend on: content of features and masks, parameters."""
        parameters = {name: value for name, value in asdict(setting.propagation).items() if name != "alpha"}
        determining = {
            "scoring": _SCORING,
            "features": [[units[choice].content_hash, weight] for choice, weight in setting.parts],
            "masks": self.digest,
            "metrics": "jf" if self.contours else "j",
            **parameters,
        }
        return hashlib.sha256(canonical_json(determining)).hexdigest()


def find_units(
    cache: Cache, video: Video, choices: Sequence[FeatureChoice], prefer: Sequence[tuple[str, str]]
) -> dict[FeatureChoice, Unit]:
    """Open the units of a video that a sweep needs.

    Raises
    ------
    UnitNotFoundError
        When some are not there, or cannot be told apart, with what to do about all of them.
    FrameError
        For frames that cannot be read.
    CacheError
        For a unit that cannot be read.
    """
    frames = video.frames.digest()
    units: dict[FeatureChoice, Unit] = {}
    problems: dict[FeatureChoice, TedError] = {}
    for choice in choices:
        try:
            units[choice] = cache.find(video.dataset, video.name, choice, frames=frames, prefer=prefer)
        except UnitNotFoundError as error:
            problems[choice] = error
        else:
            warn_of_other_settings(units[choice], prefer)
    if problems:
        first = next(iter(problems.values()))
        wanted = " ".join(f"--feature '{choice.backbone}:{choice.timestep}:{choice.tap}'" for choice in problems)
        others = f"; {len(problems) - 1} more features are not there either" if len(problems) > 1 else ""
        raise UnitNotFoundError(f"{first}{others}\nto extract what is not there: ted extract SOURCE {wanted}")
    return units


def plan_grading(video: Video, *, contours: bool) -> Grading:
    """Read a video's first mask, and look at its ground truth.

    Parameters
    ----------
    video
        The video.
    contours
        Whether F is to be measured beside J.

    Raises
    ------
    ConfigError
        When there is not enough ground truth.
    LabelError
        For masks that cannot be used.
    """
    mask = video.read_first_mask()
    annotations = video.annotations()
    truth = SequenceTruth(video.name, annotations)
    if int(mask.max()) > truth.count or truth.size != video.frames.size:
        raise LabelError(
            f"the first mask of video {video.name!r} has object {int(mask.max())} and frames of {video.frames.size}, "
            f"but its ground truth has {truth.count} objects and masks of {truth.size} (height, width)"
        )
    digest = hashlib.sha256(mask.tobytes())
    for frame in truth.frames:
        with explain_os_errors(f"read {annotations[frame]}"):
            content = annotations[frame].read_bytes()
        digest.update(f"{video.frames.names.index(frame)} {hashlib.sha256(content).hexdigest()} ".encode())
    return Grading(video=video, mask=mask, digest=digest.hexdigest(), contours=contours)
