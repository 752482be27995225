"""Options of commands that run backbones, beside timesteps, taps and noise draws."""

from typing import TYPE_CHECKING, Literal

import click

from .base import Options, opt
from .options import at_least

if TYPE_CHECKING:
    from ...extract.settings import BackboneOptions

__all__ = ["BackboneChoice"]


class BackboneChoice(Options, title="Backbones"):
    """Inputs of backbones beside the frames."""

    prompt: str | None = opt("Prompt of i2vgen-xl and sd21.  [default: empty]", metavar="TEXT")
    condition_on: Literal["clip", "video", "none"] | None = opt(
        "Frame that conditions a video backbone: the first of each clip, of the video, or none.  [default: clip]"
    )
    fps: int | None = opt(
        "Frame rate passed to video backbones, in frames per second.  [default: i2vgen-xl 16, svd 7]", type=at_least(1)
    )
    motion_bucket: int | None = opt(
        "Motion bucket passed to svd: the amount of motion.  [default: 127]", type=at_least(0)
    )
    noise_augmentation: float | None = opt(
        "Standard deviation of the noise on svd's conditioning frame.  [default: 0.02]", type=click.FloatRange(min=0)
    )
    no_temporal: bool = opt("Leave out the temporal layers of video backbones, which then see every frame alone.")

    def options(self) -> "BackboneOptions":
        """Return the values for `load_backbone`."""
        from ...extract.settings import BackboneOptions

        values = dict(vars(self))
        return BackboneOptions(temporal=not values.pop("no_temporal"), **values)
