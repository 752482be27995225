"""What a sweep needs of one video: its units, its ground truth, and a key for the scores of every setting."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ...propagate.targets.mask_target import MaskTarget
from ...store import Cache, FeatureChoice, Unit
from ...store.durable import canonical_json, explain_os_errors
from ...store.errors import ConfigError, LabelError, TedError, UnitNotFoundError
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
    masks
        What is given.
    digest
        SHA-256 over the given masks and the ground truth.
    contours
        Whether F is measured beside J.
    """

    video: Video
    masks: MaskTarget
    digest: str
    contours: bool

    def target(self, frame_size: tuple[int, int]) -> Target:
        """Return what `score_labels` needs, for features computed from frames of this size."""
        return Target(
            video=self.video.name,
            frame_names=self.video.frames.names,
            annotations={name: path.absolute() for name, path in self.video.annotations().items()},
            object_frames=self.video.scored_frames(),
            masks=self.masks,
            frame_size=frame_size,
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
    """Read a video's given masks, and look at its ground truth.

    Parameters
    ----------
    video
        The video.
    contours
        Whether F is to be measured beside J.

    Raises
    ------
    ConfigError
        When there is not enough ground truth, or it is not scored by J and F.
    LabelError
        For masks that cannot be used.
    """
    others = {"parts": "the IoU of parts", "pck": "PCK", "tapvid": "TAP-Vid's measures"}
    if video.scoring in others:
        raise ConfigError(
            f"a sweep measures J and F, and video {video.name!r} is scored by {others[video.scoring]}: run "
            "`ted propagate` and `ted evaluate` for each setting"
        )
    masks = MaskTarget(masks=video.read_given_masks())
    annotations, object_frames = video.annotations(), video.scored_frames()
    truth = SequenceTruth(video.name, annotations, object_frames)
    largest, known = max(masks.object_ids), max(object_frames or truth.object_ids)
    if largest > known or truth.size != video.frames.size:
        raise LabelError(
            f"the given masks of video {video.name!r} have object {largest} and frames of {video.frames.size}, "
            f"but its ground truth has objects up to {known} and masks of {truth.size} (height, width)"
        )
    digest = hashlib.sha256()
    for frame, mask in masks.masks.items():
        digest.update((f"{frame} " if frame else "").encode() + mask.tobytes())
    if object_frames is not None:
        digest.update(canonical_json({str(number): list(frames) for number, frames in object_frames.items()}))
    for name in truth.frames:
        with explain_os_errors(f"read {annotations[name]}"):
            content = annotations[name].read_bytes()
        digest.update(f"{video.frames.names.index(name)} {hashlib.sha256(content).hexdigest()} ".encode())
    return Grading(video=video, masks=masks, digest=digest.hexdigest(), contours=contours)
