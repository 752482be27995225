"""The host's share of a clip: frames read and resized, noise drawn. Nothing here uses the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .backbones.base import Backbone
from .clips import Clip
from .frames import FrameSource, to_pixels
from .noising.keyed_noise import NoiseKey
from .plan import VideoPlan

__all__ = ["ClipReader", "HostClip"]


@dataclass(frozen=True, kw_only=True)
class HostClip:
    """A clip in the host's memory.

    Attributes
    ----------
    index
        Its index in the video's list of clips.
    clip
        Its frames.
    pixels
        (frame, 3, height, width), float32, RGB in [-1, 1].
    image
        The conditioning frame, (1, 3, height, width), in the same range; None without one.
    image_index
        Index of the conditioning frame in the video: the key of the conditioning's own noise.
    noise
        (draw, latent frame, channel, y, x), float32, standard normal; None where the noising draws none.
    """

    index: int
    clip: Clip
    pixels: torch.Tensor
    image: torch.Tensor | None
    image_index: int
    noise: torch.Tensor | None


class ClipReader:
    """Reads clips of one video, each frame once.

    Parameters
    ----------
    backbone
        The backbone that will see the clips.
    source
        The frames.
    plan
        The video's plan.
    latent_shape
        (latent frame, channel, y, x) of a clip's noise.
    """

    def __init__(self, backbone: Backbone, source: FrameSource, plan: VideoPlan, latent_shape: tuple[int, ...]) -> None:
        self._source = source
        self._plan = plan
        self._latent_shape = latent_shape
        self._condition_on = backbone.condition_on
        # A GPU copies from page-locked memory while it computes.
        self._pin = backbone.device.type == "cuda"

    def read(self, wanted: Sequence[int]) -> Iterator[HostClip]:
        """Yield clips by rising index.

        Frames that clips share stay in memory until no later clip has them: memory does not grow with the video.
        """
        decoded: dict[int, torch.Tensor] = {}
        first: torch.Tensor | None = None
        for index in wanted:
            clip = self._plan.clips[index]
            if self._condition_on == "video" and first is None:
                first = decoded[0] = self._decode(0)
            for frame in clip.frames:
                if frame not in decoded:
                    decoded[frame] = self._decode(frame)
            pixels = torch.stack([decoded[frame] for frame in clip.frames])
            image = {"clip": pixels[0], "video": first, "none": None}[self._condition_on]
            for frame in [frame for frame in decoded if frame <= clip.start or frame not in clip.frames]:
                del decoded[frame]
            noise = self._draw(clip)
            if self._pin:
                pixels, noise = pixels.pin_memory(), None if noise is None else noise.pin_memory()
            yield HostClip(
                index=index,
                clip=clip,
                pixels=pixels,
                image=None if image is None else image[None],
                image_index=0 if self._condition_on == "video" else clip.start,
                noise=noise,
            )

    def _decode(self, frame: int) -> torch.Tensor:
        return torch.from_numpy(to_pixels(self._source.read(frame), self._plan.request.frame_size))

    def _draw(self, clip: Clip) -> torch.Tensor | None:
        request = self._plan.request
        key = NoiseKey(seed=request.seed, video=request.video, start=clip.start)
        return self._plan.noising.draw(key, self._latent_shape, request.ensemble)
