"""The pure middle of extraction: clips in, averaged features out; no cache, no files."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from .backbones.base import Backbone, Condition
from .clip_reader import HostClip
from .clips import Clip, count_contributions
from .noising.random_draws import NoiseKey, draw_noise
from .passes import Item

__all__ = ["Averages", "ClipEncoder", "DeviceClip", "Features", "latent_shape", "run_pass"]


@dataclass(frozen=True, kw_only=True)
class DeviceClip:
    """A clip as the UNet's passes need it, on the backbone's device.

    Attributes
    ----------
    latents
        x_0: (frame, channel, y, x), float32.
    condition
        Its conditioning.
    noise
        (draw, frame, channel, y, x), float32.
    """

    latents: torch.Tensor
    condition: Condition
    noise: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Features:
    """Finished features of some frames at one timestep and tap.

    Attributes
    ----------
    timestep, tap
        Where they were read.
    frames
        Indices in the video.
    values
        (frame, channel, grid y, grid x), float32, on the backbone's device.
    """

    timestep: int
    tap: str
    frames: Sequence[int]
    values: torch.Tensor


class ClipEncoder:
    """Turns a video's clips into latents and conditioning: each frame is encoded once, for all timesteps and draws.

    Parameters
    ----------
    backbone
        Encodes frames and computes conditioning.
    video, seed
        Key of the noise that conditioning may need.
    """

    def __init__(self, backbone: Backbone, *, video: str, seed: int) -> None:
        self._backbone = backbone
        self._video = video
        self._seed = seed
        self._latents: OrderedDict[int, torch.Tensor] = OrderedDict()

    @torch.inference_mode()
    def encode(self, host: HostClip) -> DeviceClip:
        """Encode a clip; clips come in the order of the video."""
        backbone, clip = self._backbone, host.clip

        def draw(shape: Sequence[int]) -> torch.Tensor:
            key = NoiseKey(seed=self._seed, video=self._video, start=host.image_index, purpose="conditioning")
            return draw_noise(key, shape)

        condition = backbone.condition(host.pixels, host.image, draw)
        pixels = host.pixels.to(backbone.device, non_blocking=True)
        for frame, values in zip(clip.frames, pixels, strict=True):
            if frame not in self._latents:
                self._latents[frame] = backbone.encode(values[None])[0]
        latents = torch.stack([self._latents[frame] for frame in clip.frames])
        while len(self._latents) > backbone.clip_length:
            self._latents.popitem(last=False)
        noise = host.noise.to(backbone.device, non_blocking=True)
        return DeviceClip(latents=latents, condition=condition, noise=noise)


@torch.inference_mode()
def latent_shape(backbone: Backbone, frame_size: tuple[int, int]) -> tuple[int, ...]:
    """Return (channel, y, x) of one frame's x_0, by encoding a grey frame of (height, width) pixels."""
    return tuple(backbone.encode(torch.zeros(1, 3, *frame_size, device=backbone.device)).shape[1:])


@torch.inference_mode()
def run_pass(
    backbone: Backbone, items: Sequence[Item], clips: Mapping[int, DeviceClip], taps: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Run the UNet once: x_tau of each item from x_0 and its draw's noise, up to the last tap.

    Parameters
    ----------
    backbone
        The backbone.
    items
        What makes up the batch: clips, timesteps and draws may be mixed.
    clips
        The clips, by index.
    taps
        Which taps to read.

    Returns
    -------
    dict
        By tap: (item, frame, channel, grid y, grid x), float32, on the backbone's device.
    """
    noisy = torch.stack(
        [backbone.perturb(clips[item.clip].latents, clips[item.clip].noise[item.draw], item.timestep) for item in items]
    )
    conditions = [clips[item.clip].condition for item in items]
    condition = {name: torch.cat([one[name] for one in conditions]) for name in conditions[0]}
    return backbone.features(noisy, [item.timestep for item in items], condition, taps)


class Averages:
    """Means over noise draws and over the clips in which a frame counts, of what passes give in the order of the items.

    Raw, in float32.

    Parameters
    ----------
    clips
        The video's clips.
    draws
        Noise draws to average.
    wanted
        The (timestep, tap) pairs wanted of each clip, by its index; others are dropped.
    """

    def __init__(self, clips: Sequence[Clip], draws: int, wanted: Mapping[int, Collection[tuple[int, str]]]) -> None:
        self._clips = clips
        self._draws = draws
        self._wanted = wanted
        self._contributions = count_contributions(clips)
        self._draw_sums: dict[tuple[int, int, str], torch.Tensor] = {}
        #: Of frames that count in several clips, what those before gave: how many there were, and their sum.
        self._clip_sums: dict[tuple[int, int, str], tuple[int, torch.Tensor]] = {}

    def add(self, items: Sequence[Item], outputs: Mapping[str, torch.Tensor]) -> Iterator[Features]:
        """Take the outputs of a pass, of its real items; yield what they complete."""
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
                mean = total[clip.keep.start : clip.keep.stop] / self._draws
                yield from self._over_clips(item.timestep, tap, clip.kept_frames, mean)

    def _over_clips(self, timestep: int, tap: str, frames: range, values: torch.Tensor) -> Iterator[Features]:
        """Take the features of a clip; yield those of frames that count in no later one."""
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
