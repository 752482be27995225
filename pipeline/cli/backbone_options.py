"""Options of commands that run backbones, beside timesteps, taps and noise draws."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...extract.settings import BackboneOptions

__all__ = ["backbone_options", "overlap_rule_option", "read_backbone_options"]

#: ``--overlap-rule first|mean``.
overlap_rule_option = click.option(
    "--overlap-rule",
    type=click.Choice(["first", "mean"]),
    default="first",
    help="Feature of a frame in several clips: from the first clip, or the mean.",
)


def backbone_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of backbones to a command; see `read_backbone_options`."""
    decorators = [
        click.option("--prompt", metavar="TEXT", help="Prompt of i2vgen-xl and sd21.  [default: empty]"),
        click.option(
            "--condition-on",
            type=click.Choice(["clip", "video", "none"]),
            help="Frame that conditions a video backbone: the first of each clip, of the video, or none.  "
            "[default: clip]",
        ),
        click.option(
            "--fps",
            type=click.IntRange(min=1),
            help="Frame rate passed to video backbones, in frames per second.  [default: i2vgen-xl 16, svd 7]",
        ),
        click.option(
            "--motion-bucket",
            type=click.IntRange(min=0),
            help="Motion bucket passed to svd: the amount of motion.  [default: 127]",
        ),
        click.option(
            "--noise-augmentation",
            type=click.FloatRange(min=0),
            help="Standard deviation of the noise on svd's conditioning frame.  [default: 0.02]",
        ),
        click.option(
            "--no-temporal",
            is_flag=True,
            help="Leave out the temporal layers of video backbones, which then see every frame alone.",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def read_backbone_options(values: dict[str, Any]) -> "BackboneOptions":
    """Remove the values of `backbone_options` from a command's values and return them as one object."""
    from ...extract.settings import BackboneOptions

    names = ("prompt", "condition_on", "fps", "motion_bucket", "noise_augmentation")
    return BackboneOptions(temporal=not values.pop("no_temporal"), **{name: values.pop(name) for name in names})
