"""Plan one run over a video: the units to write and the passes that compute them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ..store import Artifact, FeatureRequest, UnitSpec
from ..store.errors import FrameError, Hint, UnitNotFoundError
from .backbones.base import Artifacts, Backbone
from .clips import Clip, plan_clips
from .frames import FrameSource
from .noising.base import Noising
from .noising.closed_form import NoNoise, RandomDraws
from .passes import Passes
from .settings import ExtractionSettings

#: Default number of frames in a batch; a video backbone has one clip.
_DEFAULT_BATCH_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """Plan of one run of one backbone over one video.

    Attributes
    ----------
    request
        Everything that determines the features, except timestep and tap.
    specs
        The units to write, by (timestep, tap). Pairs are missing if the cache has them in another codec.
    clips
        The windows over the video, in order.
    passes
        The network's passes over the clips.
    noising
        Rule that turns clips into noisy inputs.
    artifacts
        The video's artifacts on which the backbone is conditioned.
    frame_times
        Presentation times of the frames in seconds; None if the source has none.
    """

    request: FeatureRequest
    specs: dict[tuple[int, str], UnitSpec]
    clips: list[Clip]
    passes: Passes
    noising: Noising
    artifacts: Artifacts = field(default_factory=dict, compare=False)
    frame_times: tuple[float, ...] | None = None

    @property
    def frame_count(self) -> int:
        """Number of frames in the video."""
        return self.clips[-1].kept_frames.stop

    def with_batch_size(self, size: int) -> "VideoPlan":
        """Return the plan with this number of items in a pass, or all items if there are fewer."""
        items = self.passes.clips * len(self.passes.timesteps) * self.passes.draws
        return dataclasses.replace(self, passes=dataclasses.replace(self.passes, size=min(size, items)))


def plan_video(
    backbone: Backbone,
    source: FrameSource,
    *,
    dataset: str,
    video: str,
    timesteps: Sequence[int],
    taps: Sequence[str],
    settings: ExtractionSettings,
    artifacts: Mapping[str, Artifact] | None = None,
) -> VideoPlan:
    """Plan the units of one backbone on one video.

    Parameters
    ----------
    backbone
        The backbone; its weights and conditioning enter the request.
    source
        The video's frames.
    dataset, video
        Names in the cache.
    timesteps, taps
        Every combination becomes a unit.
    settings
        Frame size, overlap, noising, ensemble, seed. Settings that do not apply to the backbone are not part of the
        request.
    artifacts
        The video's artifacts by kind, at least those that the backbone needs.

    Raises
    ------
    ConfigError
        For an unknown tap, and for a timestep that the backbone or the noising does not take.
    FrameError
        For a video without frames.
    UnitNotFoundError
        For an artifact that the backbone needs and the video lacks.
    """
    chosen = backbone.choose_taps(taps)
    noising = (settings.noising or RandomDraws()) if backbone.takes_noise else NoNoise()
    noising.check_timesteps(backbone, timesteps)
    if not len(source):
        raise FrameError(f"{dataset}/{video} has no frames")
    absent = [name for name in backbone.artifacts if name not in (artifacts or {})]
    if absent:
        raise UnitNotFoundError(
            f"backbone {backbone.name!r} needs what {dataset}/{video} lacks: {', '.join(absent)}",
            hint=Hint(f"learn-{absent[0]}"),
        )
    used = {name: (artifacts or {})[name] for name in backbone.artifacts}
    hashes = {"artifacts": {name: artifact.content_hash for name, artifact in used.items()}} if used else {}
    is_video = backbone.clip_length > 1
    overlap = settings.overlap if is_video else 0
    overlap_rule = settings.overlap_rule if is_video else "first"
    request = FeatureRequest(
        video=video,
        frames=source.digest(),
        backbone=backbone.name,
        weights=backbone.weights_id,
        frame_size=backbone.processed_size(source.size, settings.frame_size),
        clip_length=backbone.clip_length,
        clip_overlap=overlap,
        overlap_rule=overlap_rule,
        conditioning={**backbone.conditioning, **hashes},
        # Without random noise, the number of draws and the seed do not change features.
        ensemble=settings.ensemble if noising.random else 1,
        seed=settings.seed if noising.random else 0,
        noise=noising.identity,
        compute_dtype=str(backbone.dtype).removeprefix("torch."),
    )
    steps = tuple(dict.fromkeys(timesteps))
    alpha_bars = {timestep: noising.alpha_bar(backbone, timestep) for timestep in steps}
    specs = {
        (timestep, tap): UnitSpec(
            dataset=dataset,
            request=request,
            timestep=timestep,
            tap=tap,
            frame_names=source.names,
            source_size=source.size,
            alpha_bar=alpha_bars[timestep],
            heads=chosen[tap].heads,
        )
        for timestep in steps
        for tap in chosen
    }
    clips = plan_clips(len(source), backbone.clip_length, overlap, overlap_rule)
    plan = VideoPlan(
        request=request,
        specs=specs,
        clips=clips,
        passes=Passes(clips=len(clips), timesteps=steps, draws=request.ensemble, size=1),
        noising=noising,
        artifacts={name: _arrays(artifact) for name, artifact in used.items()},
        frame_times=getattr(source, "times", None),
    )
    return plan.with_batch_size(settings.batch_size or default_batch_size(backbone))


def default_batch_size(backbone: Backbone) -> int:
    """Return the default number of items in a pass: eight frames, or one clip of a video backbone."""
    return max(1, _DEFAULT_BATCH_FRAMES // backbone.clip_length)


def _arrays(artifact: Artifact) -> dict[str, torch.Tensor]:
    return {array.name: torch.from_numpy(artifact[array.name][...]) for array in artifact.spec.layout.arrays}
