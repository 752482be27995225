"""The host's share of a clip: frames decoded and resized, noise drawn; nothing here touches the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .clips import Clip
from .frames import FrameSource, to_pixels
from .noising.random_draws import NoiseKey, draw_noise
from .settings import ConditionOn

__all__ = ["ClipReader", "HostClip"]


@dataclass(frozen=True, kw_only=True)
class HostClip:
    """A clip in the host's memory.

    Attributes
    ----------
    index
        Its place in the video's list of clips.
    clip
        Which frames it is of.
    pixels
        (frame, 3, height, width), float32, RGB in [-1, 1].
    image
        The conditioning frame: (1, 3, height, width), in the same range; None without one.
    image_index
        Its index in the video, which keys the noise that it may be given.
    noise
        Of each draw: (draw, frame, channel, y, x), float32, standard normal.
    """

    index: int
    clip: Clip
    pixels: torch.Tensor
    image: torch.Tensor | None
    image_index: int
    noise: torch.Tensor


class ClipReader:
    """Reads clips of one video, each frame once.

    Parameters
    ----------
    source
        The frames.
    frame_size
        (height, width) in pixels to resize them to.
    noise_shape
        (channel, y, x) of one frame's noise.
    video, seed
        Key of the noise.
    draws
        Noise draws of each clip; 0 for a backbone without noise, which gets zeros.
    condition_on
        Which frame conditions a clip.
    pin
        Give tensors in page-locked memory, from which a GPU copies while it computes.
    """

    def __init__(
        self,
        source: FrameSource,
        frame_size: tuple[int, int],
        *,
        noise_shape: tuple[int, ...],
        video: str,
        seed: int,
        draws: int,
        condition_on: ConditionOn = "clip",
        pin: bool = False,
    ) -> None:
        self._source = source
        self._frame_size = frame_size
        self._noise_shape = noise_shape
        self._video = video
        self._seed = seed
        self._draws = draws
        self._condition_on = condition_on
        self._pin = pin

    def read(self, clips: Sequence[Clip], wanted: Sequence[int]) -> Iterator[HostClip]:
        """Yield the wanted ones of a video's clips, given by rising index.

        Frames that clips share are kept until no later clip has them: memory does not grow with the video.
        """
        kept: dict[int, torch.Tensor] = {}
        first: torch.Tensor | None = None
        for index in wanted:
            clip = clips[index]
            if self._condition_on == "video" and first is None:
                first = self._decode(0)
                kept[0] = first
            for frame in clip.frames:
                if frame not in kept:
                    kept[frame] = self._decode(frame)
            pixels = torch.stack([kept[frame] for frame in clip.frames])
            image = {"clip": pixels[0], "video": first, "none": None}[self._condition_on]
            for frame in [frame for frame in kept if frame <= clip.start or frame not in clip.frames]:
                del kept[frame]
            noise = self._draw(clip)
            if self._pin:
                pixels, noise = pixels.pin_memory(), noise.pin_memory()
            yield HostClip(
                index=index,
                clip=clip,
                pixels=pixels,
                image=None if image is None else image[None],
                image_index=0 if self._condition_on == "video" else clip.start,
                noise=noise,
            )

    def _decode(self, frame: int) -> torch.Tensor:
        return torch.from_numpy(to_pixels(self._source.read(frame), self._frame_size))

    def _draw(self, clip: Clip) -> torch.Tensor:
        shape = len(clip.frames), *self._noise_shape
        keys = [
            NoiseKey(seed=self._seed, video=self._video, start=clip.start, draw=draw) for draw in range(self._draws)
        ]
        return torch.stack([draw_noise(key, shape) for key in keys]) if keys else torch.zeros(1, *shape)
