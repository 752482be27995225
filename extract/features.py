"""The pure middle of extraction: clips of frames in, averaged features out; no cache, no files."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch

from .backbones.base import Backbone, Condition
from .clips import Clip
from .frames import FrameSource, to_pixels
from .noise import NoiseKey, draw_noise

__all__ = ["ClipLoader", "clip_features"]


class ClipLoader:
    """Gives a video's clips as latents and conditioning, decoding and encoding each frame once.

    Clips must be asked for in the order of the video: frames are kept for the length of one clip only, so that memory
    does not grow with the video.

    Parameters
    ----------
    backbone
        Encodes frames and computes conditioning.
    source
        The frames.
    frame_size
        (height, width) in pixels to resize them to.
    video, seed
        Key of the noise that conditioning may need.
    """

    def __init__(
        self, backbone: Backbone, source: FrameSource, frame_size: tuple[int, int], *, video: str, seed: int
    ) -> None:
        self._backbone = backbone
        self._source = source
        self._frame_size = frame_size
        self._video = video
        self._seed = seed
        self._frames: OrderedDict[int, tuple[torch.Tensor, torch.Tensor]] = OrderedDict()
        self._first: torch.Tensor | None = None  # pixels of the video's first frame, where clips are conditioned on it

    def load(self, clip: Clip) -> tuple[torch.Tensor, Condition]:
        """Return a clip's x_0, (1, frame, channel, y, x), and its conditioning."""
        pixels, latents = zip(*(self._frame(index) for index in clip.frames), strict=True)
        on = self._backbone.condition_on
        if on == "video" and self._first is None:
            self._first = self._pixels(0) if clip.start else pixels[0]
        image = {"clip": pixels[0], "video": self._first, "none": None}[on]

        def draw(shape: Sequence[int]) -> torch.Tensor:
            start = 0 if on == "video" else clip.start  # the conditioning frame's own noise
            key = NoiseKey(seed=self._seed, video=self._video, start=start, purpose="conditioning")
            return draw_noise(key, shape)

        with torch.inference_mode():
            condition = self._backbone.condition(torch.stack(pixels), None if image is None else image[None], draw)
        return torch.stack(latents)[None], condition

    def _pixels(self, index: int) -> torch.Tensor:
        return torch.from_numpy(to_pixels(self._source.read(index), self._frame_size))

    def _frame(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if index not in self._frames:
            pixels = self._pixels(index)
            with torch.inference_mode():
                self._frames[index] = pixels, self._backbone.encode(pixels[None])[0]
            while len(self._frames) > self._backbone.clip_length:
                self._frames.popitem(last=False)
        return self._frames[index]


def clip_features(
    backbone: Backbone,
    batch: Sequence[tuple[torch.Tensor, Condition]],
    starts: Sequence[int],
    taps_by_timestep: Mapping[int, Sequence[str]],
    *,
    video: str,
    ensemble: int,
    seed: int,
) -> dict[tuple[int, str], torch.Tensor]:
    """Compute the features of some clips at some timesteps and taps.

    Per timestep and noise draw: x_tau from x_0 and the draw's noise, then one pass of the UNet that stops after the
    last tap (TED, "video diffusion features"). Draws are averaged raw, in float32.

    Parameters
    ----------
    backbone
        The backbone.
    batch
        x_0 and conditioning of each clip, from `ClipLoader.load`.
    starts
        Index of each clip's first frame: with `video`, `seed` and the number of the draw, the key of its noise.
    taps_by_timestep
        Which taps to read at which timestep.
    video, ensemble, seed
        Key of the noise, and number of draws.

    Returns
    -------
    dict
        By (timestep, tap): (clip, frame, channel, grid y, grid x), float32, on the backbone's device.
    """
    latents = torch.cat([clip for clip, _ in batch])
    condition = {name: torch.cat([part[name] for _, part in batch]) for name in batch[0][1]}
    sums: dict[tuple[int, str], torch.Tensor] = {}
    for draw in range(ensemble):
        keys = [NoiseKey(seed=seed, video=video, start=start, draw=draw) for start in starts]
        noise = torch.stack([draw_noise(key, latents.shape[1:]) for key in keys]).to(latents.device)
        for timestep, taps in taps_by_timestep.items():
            noisy = backbone.perturb(latents, noise, timestep)
            for tap, features in backbone.features(noisy, timestep, condition, taps).items():
                key = timestep, tap
                sums[key] = sums[key] + features if key in sums else features
    return {key: total / ensemble for key, total in sums.items()}
