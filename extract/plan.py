"""From a video, a backbone and settings to the units that one pass over the video writes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ..store import FeatureRequest, UnitSpec
from ..store.errors import ConfigError, FrameError
from .backbones.base import Backbone
from .clips import Clip, plan_clips
from .frames import FrameSource, processed_size
from .noising.random_draws import NOISE_SCHEME
from .passes import Passes
from .settings import ExtractionSettings
from .taps import choose_taps

__all__ = ["VideoPlan", "default_batch_size", "plan_video"]

#: Frames in a batch unless the user says otherwise: one clip of a video backbone.
_DEFAULT_BATCH_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """What one pass of one backbone over one video computes.

    Attributes
    ----------
    request
        What determines the features.
    specs
        The units to write, by (timestep, tap); not all that the passes could give, where some are there in another
        form.
    clips
        The windows over the video, in order.
    passes
        The passes of the UNet over them.
    frame_times
        Presentation times of the frames in seconds; None if the source has none.
    """

    request: FeatureRequest
    specs: dict[tuple[int, str], UnitSpec]
    clips: list[Clip]
    passes: Passes
    frame_times: tuple[float, ...] | None = None

    @property
    def frame_count(self) -> int:
        """Frames in the video."""
        return self.clips[-1].kept_frames.stop

    def with_batch_size(self, size: int) -> "VideoPlan":
        """Return the same with passes of so many items; of all that there are, if they are fewer."""
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
) -> VideoPlan:
    """Plan the units of one backbone on one video.

    Parameters
    ----------
    backbone
        The backbone; its weights' identity and conditioning enter the request.
    source
        The video's frames.
    dataset, video
        Names under which the cache files them.
    timesteps, taps
        Every combination becomes a unit.
    settings
        Frame size, overlap, ensemble, seed; those that a backbone knows nothing of are not part of its request.

    Raises
    ------
    ConfigError
        For an unknown tap or a timestep that the backbone was not trained with.
    FrameError
        For a video without frames.
    """
    choose_taps(backbone.taps, taps, backbone.name)
    outside = [timestep for timestep in timesteps if not 0 <= timestep < backbone.timestep_count]
    if outside or not timesteps:
        what = f"timestep {outside[0]}" if outside else "no timestep"
        takes = f"0 to {backbone.timestep_count - 1}" if backbone.takes_noise else "0 alone, for it knows no noise"
        raise ConfigError(f"{what} for backbone {backbone.name!r}; it takes {takes}")
    if not len(source):
        raise FrameError(f"{dataset}/{video} has no frames")
    overlap = settings.overlap if backbone.clip_length > 1 else 0
    overlap_rule = settings.overlap_rule if backbone.clip_length > 1 else "first"
    frame_size = processed_size(source.size, settings.frame_size, backbone.frame_multiple)
    request = FeatureRequest(
        video=video,
        frames=source.digest(),
        backbone=backbone.name,
        weights=backbone.weights_id,
        frame_size=frame_size,
        clip_length=backbone.clip_length,
        clip_overlap=overlap,
        overlap_rule=overlap_rule,
        conditioning=backbone.conditioning,
        # Without noise, draws and seed do not exist: another number of them would be the same features.
        ensemble=settings.ensemble if backbone.takes_noise else 1,
        seed=settings.seed if backbone.takes_noise else 0,
        noise=NOISE_SCHEME if backbone.takes_noise else "none",
        compute_dtype=str(backbone.dtype).removeprefix("torch."),
    )
    steps = tuple(dict.fromkeys(timesteps))
    alpha_bars = {timestep: backbone.alpha_bar(timestep) for timestep in steps}
    specs = {
        (timestep, tap): UnitSpec(
            dataset=dataset,
            request=request,
            timestep=timestep,
            tap=tap,
            frame_names=source.names,
            source_size=source.size,
            alpha_bar=alpha_bars[timestep],
        )
        for timestep in steps
        for tap in dict.fromkeys(taps)
    }
    clips = plan_clips(len(source), backbone.clip_length, overlap, overlap_rule)
    passes = Passes(clips=len(clips), timesteps=steps, draws=request.ensemble, size=1)
    batch_size = settings.batch_size or default_batch_size(backbone)
    plan = VideoPlan(
        request=request, specs=specs, clips=clips, passes=passes, frame_times=getattr(source, "times", None)
    )
    return plan.with_batch_size(batch_size)


def default_batch_size(backbone: Backbone) -> int:
    """Items in a pass where nothing else is asked for: eight frames, or one clip of a video backbone."""
    return max(1, _DEFAULT_BATCH_FRAMES // backbone.clip_length)
