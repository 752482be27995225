"""Compute averaged features from clips, on the device: no cache, no files, no threads."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from .backbones.base import Backbone, Condition
from .clip_reader import HostClip
from .clips import Clip, count_contributions
from .noising.base import CleanClip, NoisyClip
from .noising.keyed_noise import NoiseKey, draw_noise
from .passes import Item
from .plan import VideoPlan


@dataclass(frozen=True, kw_only=True)
class DeviceClip:
    """A clip on the backbone's device, ready for the network's passes."""

    frame_size: tuple[int, int]  # (height, width) of the clip's frames in pixels
    condition: Condition  # the clip's conditioning
    noisy: NoisyClip  # function that returns x_tau for a timestep and a draw


@dataclass(frozen=True, kw_only=True)
class Features:
    """Averaged features of some frames at one timestep and tap."""

    timestep: int  # timestep and tap of these features
    tap: str
    frames: Sequence[int]  # indices of the frames in the video
    values: torch.Tensor  # (frame, channel, grid y, grid x), float32, on the backbone's device


class ClipEncoder:
    """Encodes a video's clips: each frame (or clip) once, for all timesteps and draws."""

    def __init__(self, backbone: Backbone, plan: VideoPlan) -> None:
        self._backbone = backbone
        self._plan = plan
        self._latents: OrderedDict[int, torch.Tensor] = OrderedDict()

    @torch.inference_mode()
    def encode(self, host: HostClip) -> DeviceClip:
        """Encode a clip. Call it with clips in the order of the video."""
        backbone, plan = self._backbone, self._plan

        def draw(shape: Sequence[int]) -> torch.Tensor:
            return draw_noise(
                NoiseKey(
                    seed=plan.request.seed, video=plan.request.video, start=host.image_index, purpose="conditioning"
                ),
                shape,
            )

        condition = backbone.condition(host.pixels, host.image, draw, plan.artifacts)
        pixels = host.pixels.to(backbone.device, non_blocking=True)
        latents = self._encode(host.clip, pixels)
        noise = None if host.noise is None else host.noise.to(backbone.device, non_blocking=True)
        clean = CleanClip(latents=latents, condition=condition, noise=noise)
        return DeviceClip(
            frame_size=plan.request.frame_size,
            condition=condition,
            noisy=plan.noising.perturb(backbone, clean, plan.passes.timesteps),
        )

    def _encode(self, clip: Clip, pixels: torch.Tensor) -> torch.Tensor:
        """Encode a clip's frames to (latent frame, channel, y, x); reuse encodings of frames of the previous clip."""
        backbone = self._backbone
        if backbone.latent_of_frame is not None:
            return backbone.encode_clip(pixels)
        for frame, values in zip(clip.frames, pixels, strict=True):
            if frame not in self._latents:
                self._latents[frame] = backbone.encode(values[None])[0]
        latents = torch.stack([self._latents[frame] for frame in clip.frames])
        while len(self._latents) > backbone.clip_length:
            self._latents.popitem(last=False)
        return latents


@torch.inference_mode()
def latent_shape(backbone: Backbone, frame_size: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of a clip's x_0, (latent frame, channel, y, x), from encoding grey frames of `frame_size`."""
    if backbone.latent_of_frame is not None:
        grey = torch.zeros(backbone.clip_length, 3, *frame_size, device=backbone.device)
        return tuple(backbone.encode_clip(grey).shape)
    grey = torch.zeros(1, 3, *frame_size, device=backbone.device)
    return (backbone.clip_length, *backbone.encode(grey).shape[1:])


@torch.inference_mode()
def run_pass(
    backbone: Backbone, items: Sequence[Item], clips: Mapping[int, DeviceClip], taps: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Run the network once, up to the last tap, on a batch in which clips, timesteps and draws may be mixed.

    Returns, by tap, (item, latent frame, channel, grid y, grid x), float32, on the backbone's device. It raises
    ConfigError when a map contradicts the stride or the heads that its tap declares.
    """
    noisy = torch.stack([clips[item.clip].noisy(item.timestep, item.draw) for item in items])
    conditions = [clips[item.clip].condition for item in items]
    condition = {name: torch.cat([one[name] for one in conditions]) for name in conditions[0]}
    features = backbone.features(noisy, [item.timestep for item in items], condition, taps)
    declared = backbone.choose_taps(taps)
    for name, values in features.items():
        declared[name].check(name, values.shape, clips[items[0].clip].frame_size)
    return features


class Averages:
    """Averages of features over noise draws, and over the clips in which a frame counts; float32, not normalised."""

    def __init__(
        self,
        clips: Sequence[Clip],
        draws: int,
        wanted: Mapping[int, Collection[tuple[int, str]]],  # (timestep, tap) by index of the clip; others are dropped
        latent_of_frame: Sequence[int] | None = None,
    ) -> None:
        self._clips = clips
        self._draws = draws
        self._wanted = wanted
        self._latent_of_frame = latent_of_frame
        self._contributions = count_contributions(clips)
        self._draw_sums: dict[tuple[int, int, str], torch.Tensor] = {}
        # Number of clips so far and sum of their features, for frames that count in several clips.
        self._clip_sums: dict[tuple[int, int, str], tuple[int, torch.Tensor]] = {}

    def add(self, items: Sequence[Item], outputs: Mapping[str, torch.Tensor]) -> Iterator[Features]:
        """Add the outputs of a pass (ignore its repeated items); yield the averages that are complete."""
        for position, item in enumerate(items):
            for tap, values in outputs.items():
                if (item.timestep, tap) not in self._wanted.get(item.clip, ()):
                    continue
                key = (item.clip, item.timestep, tap)
                total = values[position] if item.draw == 0 else self._draw_sums.pop(key) + values[position]
                if item.draw < self._draws - 1:
                    self._draw_sums[key] = total
                    continue
                clip = self._clips[item.clip]
                mean = self._of_frames(total, clip.keep) / self._draws
                yield from self._over_clips(item.timestep, tap, clip.kept_frames, mean)

    def _of_frames(self, values: torch.Tensor, positions: range) -> torch.Tensor:
        """Return the values of frames, at positions in the clip, from those of latent frames."""
        if self._latent_of_frame is None:
            return values[positions.start : positions.stop]
        return values[[self._latent_of_frame[position] for position in positions]]

    def _over_clips(self, timestep: int, tap: str, frames: range, values: torch.Tensor) -> Iterator[Features]:
        """Add the features of a clip; yield the averages of frames that no later clip covers."""
        if all(self._contributions[frame] == 1 for frame in frames):
            yield Features(timestep=timestep, tap=tap, frames=frames, values=values)
            return
        complete: list[int] = []
        means: list[torch.Tensor] = []
        for frame, value in zip(frames, values, strict=True):
            count, total = self._clip_sums.pop((timestep, frame, tap), (0, 0))
            count, total = count + 1, total + value
            if count == self._contributions[frame]:
                complete.append(frame)
                means.append(total / count)
            else:
                self._clip_sums[timestep, frame, tap] = count, total
        if complete:
            yield Features(timestep=timestep, tap=tap, frames=complete, values=torch.stack(means))
